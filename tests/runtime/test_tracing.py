"""OpenTelemetry's own SDK with an exporter in memory: which spans there are, below which, and what is not in them."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_tracer_provider, set_tracer_provider
from prefect.settings import PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY, temporary_settings

from prefect_media import ImageRequest, VideoRequest, agenerate_video, generate_images
from prefect_media.errors import ContentRejected
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.runtime.tracing import span

PROMPT = "an unheard-of paper boat"
VIDEO = VideoRequest(prompt=PROMPT, model="sora-2", seconds=4, size="1280x720")
IMAGE = ImageRequest(prompt=PROMPT, model="gpt-image-2", size="1024x1024", quality="low")
TERMS = PurchaseOptions(scope="named:traced", timeout=60)


@pytest.fixture(scope="module")
def provider():
    """A process has one tracer provider; it can't be taken back."""
    set_tracer_provider(TracerProvider())
    return get_tracer_provider()


@pytest.fixture
def spans(provider):
    """The spans that ended in this test so far, by name."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    yield lambda: {span.name: span for span in exporter.get_finished_spans()}
    exporter.shutdown()


def ours(span):
    return {
        name.removeprefix("prefect_media."): value
        for name, value in span.attributes.items()
        if name.startswith("prefect_media.")
    }


async def test_a_video_has_all_five_with_its_figures_and_no_prompt(spans, media_simulator, store, configure, tmp_path):
    (tmp_path / "prices.toml").write_text('[prices."sora-2"]\nper_second = 0.1\n')
    configure(prices=tmp_path / "prices.toml")
    asset = await buy_video(media_simulator.credentials.connection(), VIDEO, store.storage(), TERMS)
    made = spans()
    parents = {"purchase": None, "submit": "purchase", "wait": "purchase", "store": "purchase", "download": "store"}
    assert set(made) == set(parents)
    for name, parent in parents.items():
        assert (made[name].parent and made[name].parent.span_id) == (parent and made[parent].context.span_id)
    [job] = media_simulator.jobs
    host = media_simulator.url.removeprefix("http://").removesuffix("/v1")
    same = {"media": "video", "model": "sora-2", "host": host, "job": job.id}
    cost = asset.source.cost_usd
    assert cost == pytest.approx(0.4)
    for name, figures in {
        "submit": {},
        "wait": {},
        "download": {"bytes": asset.size_bytes},
        "store": {"bytes": asset.size_bytes, "cost_usd": cost},
    }.items():
        assert ours(made[name]) == same | figures
    whole = ours(made["purchase"])
    assert len(whole.pop("key")) == 64
    assert whole == same | {"bytes": asset.size_bytes, "cost_usd": cost}
    assert PROMPT not in "".join(span.to_json() for span in made.values())


async def test_images_have_their_own(spans, media_simulator, store):
    [asset] = await buy_images(media_simulator.credentials.connection(), IMAGE, store.storage(), TERMS)
    made = spans()
    assert set(made) == {"purchase", "submit", "store"}
    for name in ("submit", "store"):
        assert made[name].parent.span_id == made["purchase"].context.span_id
    assert ours(made["purchase"])["bytes"] == ours(made["store"])["bytes"] == asset.size_bytes
    assert ours(made["purchase"])["cost_usd"] == asset.source.cost_usd > 0


async def test_an_error_is_named_and_not_quoted(spans, media_simulator, store):
    """A message may quote the prompt."""
    request = VIDEO.model_copy(update={"prompt": f"{PROMPT}, forbidden"})
    with pytest.raises(ContentRejected):
        await buy_video(media_simulator.credentials.connection(), request, store.storage(), TERMS)
    made = spans()
    failed = {name: span.attributes["error.type"] for name, span in made.items() if not span.status.is_ok}
    assert failed == {"purchase": "ContentRejected", "wait": "ContentRejected"}
    assert PROMPT not in "".join(span.to_json() for span in made.values())


async def test_a_broken_exporter_fails_nothing(provider, media_simulator, store):
    from opentelemetry.sdk.trace import SpanProcessor

    class Broken(SpanProcessor):
        active = True

        def on_start(self, span, parent_context=None):
            if self.active:
                raise RuntimeError("no start")

        def on_end(self, span):
            if self.active:
                raise RuntimeError("no end")

    broken = Broken()
    provider.add_span_processor(broken)
    try:
        with pytest.raises(ZeroDivisionError), span("wait", job="job"):
            raise ZeroDivisionError
        asset = await buy_video(media_simulator.credentials.connection(), VIDEO, store.storage(), TERMS)
        assert asset.size_bytes
    finally:
        broken.active = False


async def test_they_are_below_prefects_own(spans, media_simulator, store, prefect):
    """Of an awaited task, and of a sync one, which works on another thread."""
    from prefect import flow

    @flow
    async def film():
        await agenerate_video(media_simulator.credentials, VIDEO, store=store)

    @flow
    def still():
        generate_images(media_simulator.credentials, IMAGE, store=store)

    with temporary_settings({PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY: True}):
        for run, last in ((film, "wait"), (still, "submit")):
            if run is film:
                await run()
            else:
                run()
            made = spans().values()
            by_id = {span.context.span_id: span for span in made}
            span = [span for span in made if span.name == last][-1]
            above = []
            while span is not None:
                above.append(span.attributes.get("prefect.run.type", span.name))
                span = by_id.get(span.parent.span_id) if span.parent else None
            assert above == [last, "purchase", "task", "flow"]


def test_nothing_is_imported_where_nobody_traces(tmp_path):
    """A purchase by the core, in a process of its own: OpenTelemetry is not there, and neither is Prefect."""
    code = f"""
import asyncio, sys
from pydantic import SecretStr
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

with Simulator() as simulator:
    connection = Connection(provider="openai", base_url=simulator.url, api_key="k", organization=None, project=None)
    request = ImageRequest(prompt="a boat", model="gpt-image-2")
    options = PurchaseOptions(scope="named:x", timeout=60)
    [asset] = asyncio.run(buy_images(connection, request, storage_at({str(tmp_path)!r}), options))
print(asset.size_bytes > 0, *[name for name in sys.modules if name.startswith("opentelemetry")])
import prefect_media.tasks
print(*[name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n\n"
