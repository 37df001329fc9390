"""Models going away: found by the catalog and by the server's own word, told as events and as an artifact."""

import json
from datetime import date, timedelta

import pytest
from prefect.artifacts import Artifact
from prefect_media.flows.model_watch import model_watch

from prefect_media import ImageRequest, agenerate_images
from prefect_media.catalog.data import catalog
from prefect_media.catalog.retirements import endings
from prefect_media.providers.models import list_models
from prefect_media.simulator import Fault

TODAY = date(2026, 11, 22)
LIVE = {name: model.retired.get("openai") for name, model in catalog().models.items()}


@pytest.mark.parametrize(
    ("used", "changed", "host", "found"),
    [
        (["gpt-image-2"], {}, "openai", []),
        ([], {}, "openai", []),
        (["gpt-image-1.5"], {}, "openai", [("gpt-image-1.5", "going")]),
        (["openai/gpt-image-1.5"], {}, "openai", [("gpt-image-1.5", "going")]),
        (["dall-e-3"], {}, "openai", [("dall-e-3", "gone")]),
        (["gpt-image-1-mini"], {"gpt-image-1-mini": None}, "azure", []),
        (["gpt-image-2"], {"gpt-image-2": date(2026, 12, 1)}, "openai",
         [("gpt-image-2", "going"), ("gpt-image-2", "date differs")]),
        ([], {"gpt-image-2": date(2027, 12, 1)}, "openai", [("gpt-image-2", "date differs")]),
        (["my-own"], {"my-own": TODAY + timedelta(days=5)}, "other", [("my-own", "going")]),
        (["vanished"], {}, "other", [("vanished", "unlisted")]),
    ],
)  # fmt: skip
def test_findings(used, changed, host, found):
    live = {} if host == "azure" else LIVE
    got = endings(used, {**live, **changed}, host, today=TODAY)
    assert [(each.model, each.what) for each in got] == found
    for each in got:
        assert each.model in each.sentence
        assert each.what == "unlisted" or str(each.ends) in each.sentence


async def test_the_simulator_says_what_the_catalog_says(media_simulator):
    live = await list_models(media_simulator.credentials.connection())
    assert live["gpt-image-1.5"] == date(2026, 12, 1)
    assert live["gpt-image-2"] is None
    assert endings([], live, "openai", today=TODAY) == []


async def test_the_flow_tells_of_models_on_the_ledger(media_simulator, tmp_path, prefect):
    credentials, store = media_simulator.credentials, str(tmp_path)
    for model in ("gpt-image-1.5", "gpt-image-2"):
        await agenerate_images.fn(credentials, ImageRequest(prompt="a", model=model), store=store, scope="x")
    told = await model_watch(credentials, store=store, today=TODAY)
    assert told == ["gpt-image-1.5 will be switched off on 2026-12-01; move to gpt-image-2.6-flare"]
    [row] = json.loads((await Artifact.aget("model-watch")).data)
    assert (row["model"], row["what"], row["ends"]) == ("gpt-image-1.5", "going", "2026-12-01")
    assert await model_watch(credentials, ["gpt-image-2"], today=TODAY) == []


async def test_each_finding_is_an_event(media_simulator, prefect, monkeypatch):
    import prefect_media.flows.model_watch as module

    seen = []
    monkeypatch.setattr(module, "send_event", lambda *event: seen.append(event))
    body = {"object": "list", "data": [{"id": "gpt-image-2", "shutdown_date": "2026-11-30"}]}
    media_simulator.faults.append(Fault("GET", "/models$", "answer", status=200, body=body))
    told = await model_watch(media_simulator.credentials, ["gpt-image-2"], today=TODAY)
    assert [payload.what for _, _, payload in seen] == ["going", "date differs"]
    assert len(told) == 2
    for name, resource, payload in seen:
        assert name == "model.ending"
        assert resource["id"].endswith(".gpt-image-2")
        assert payload.ends == "2026-11-30"
