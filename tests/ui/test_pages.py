"""Prefect's pages in a browser: both generations, light and dark, with a real server, flows and media behind them."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import browser as browsers
import httpx
import pytest
import yaml
from prefect import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect.utilities.callables import parameter_schema
from prefect_api import Prefect
from prefect_media.flows.campaign import campaign
from prefect_media.flows.storyboard import storyboard

pytestmark = pytest.mark.ui

ROOT = Path(__file__).parents[2]
PAGES = {"classic": "", "new": "/v2"}
LOOKS = [(pages, theme) for pages in PAGES for theme in ("light", "dark")]
SCRIPT = "<script>window.ran = 1</script> a boat"
LINK = "[a boat](javascript:window.ran=2)"
PICTURE = '<img src=x onerror="window.ran=3"> a boat'
LONG = ("a boat that sails on and on " * 200)[:5000].rstrip()
EMOJI = "a boat ⛵🌊 — 一艘纸船 قارب"
NASTY = [SCRIPT, LINK, PICTURE, LONG, EMOJI]


@pytest.fixture(scope="module")
def browser(shown):
    """Chromium; it starts after the flows are done, whose event loop would be in the way of its driver's."""
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module", autouse=True)
def browser_can_be_had():
    if lack := browsers.missing():
        (pytest.fail if browsers.required() else pytest.skip)(lack)


@pytest.fixture(scope="module")
def shown(browser_can_be_had, prefect_server, s3, tmp_path_factory):
    """What there is to look at: the ids of artifacts by key, and of deployments by flow."""
    from prefect_media.simulator import Simulator

    shots = [
        *({"kind": "image", "prompt": prompt, "model": "gpt-image-2"} for prompt in NASTY),
        *({"kind": "image", "prompt": f"boat {number} of a fleet", "model": "gpt-image-2"} for number in range(20)),
        *({"prompt": f"clip {number} of a boat", "model": "boats-1"} for number in range(2)),
        *({"prompt": f"explode, {manner}", "model": "boats-1"} for manner in ("slowly", "at once", "in the harbour")),
    ]
    file = tmp_path_factory.mktemp("campaign") / "shots.json"
    file.write_text(json.dumps(shots))
    settings = {
        PREFECT_API_URL: prefect_server.api_url,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    deployments = {each["name"]: each for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}

    async def prepare(simulator):
        await simulator.credentials.asave("demo", overwrite=True)
        await s3.store("shown").asave("demo", overwrite=True)
        parameters = {flow: deployments[flow.name]["parameters"] for flow in (storyboard, campaign)}
        await storyboard(**parameters[storyboard])
        await campaign("demo", str(file), store="demo", return_state=True)
        ids = {}
        async with get_client() as client:
            for flow in (storyboard, campaign):
                ids[flow.name] = await client.create_deployment(
                    flow_id=await client.create_flow(flow),
                    name=flow.name,
                    entrypoint=f"prefect_media.flows.{flow.name}.{flow.name}",
                    parameters=parameters[flow],
                    parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
                    enforce_parameter_schema=True,
                )
        return ids

    with Simulator(latency=0.2) as simulator, temporary_settings(settings):
        ids = asyncio.run(prepare(simulator))
        for key in ("storyboard", "campaign-gallery", "campaign-gallery-2"):
            wanted = {"artifacts": {"key": {"any_": [key]}}}
            [artifact] = Prefect(prefect_server.api_url).ask("POST", "/artifacts/latest/filter", **wanted)
            ids[f"artifact {key}"] = artifact["latest_id"]
        yield ids


@pytest.mark.parametrize(("pages", "theme"), LOOKS)
@pytest.mark.parametrize(("key", "pictures"), [("storyboard", 3), ("campaign-gallery", 24), ("campaign-gallery-2", 6)])
def test_a_gallery(browser, prefect_server, shown, key, pictures, pages, theme):
    """All pictures load, nothing is wider than the page, prompts are text, failures say why."""
    page = browser.page(pages, theme)
    page.goto(f"{prefect_server.url}{PAGES[pages]}/artifacts/artifact/{shown[f'artifact {key}']}")
    page.wait_for_function(browsers.SHOWS.format(pictures=pictures), timeout=20_000)
    good = {"broken": [], "pictures": pictures, "scrollBars": [], "scriptLinks": 0, "ran": None}
    assert browsers.look_at(page, good) == good
    assert page.evaluate("document.documentElement.classList.contains('dark')") is (theme == "dark")
    if key == "campaign-gallery":
        text = " ".join(page.locator("body").evaluate("each => each.textContent").replace("\u200b", "").split())
        for prompt in NASTY:
            assert prompt in text
        assert "25 images · 2 videos · 3 failed" in text
        assert text.count("failed") >= 6, "each failed shot has its card"
    if (key, pages, theme) in (("storyboard", "classic", "dark"), ("storyboard", "new", "light")):
        browsers.save_screenshot(page, f"storyboard-{pages}")
    if (key, pages, theme) in (("campaign-gallery", "classic", "light"), ("campaign-gallery", "new", "dark")):
        browsers.save_screenshot(page, f"campaign-{pages}")
    assert page.failures == []
    page.close()


def test_a_video_plays_in_the_classic_pages_and_opens_from_the_new_ones(browser, prefect_server, shown):
    address = f"/artifacts/artifact/{shown['artifact storyboard']}"
    page = browser.page("classic", "dark")
    page.goto(prefect_server.url + address)
    page.get_by_text("Play", exact=True).first.click()
    assert page.evaluate(browsers.PLAY) >= 0.2
    page.close()

    page = browser.page("new", "light")
    page.goto(f"{prefect_server.url}/v2{address}")
    links = page.wait_for_function(browsers.LINKED.format(pictures=3)).json_value()
    for link, kind in zip(links, ("image", "video", "video"), strict=True):
        answer = httpx.get(link)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
    page.close()


def in_a_loop_of_its_own(flow_run):
    """What a flow returns; the loop of this thread is that of the browser's driver."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, flow_run).result()


GROUPS = {"still", "motion", "Options (Optional)", "budget (Optional)"}
NO_PARAMETERS = {"Run Name", "Enforce Parameter Schema", "Start"}
LABELS = {"classic": ".schema-form-property__label", "new": "form label"}


@pytest.mark.parametrize("pages", PAGES)
@pytest.mark.parametrize("flow", ["storyboard", "campaign"])
def test_a_form_is_short_and_can_be_sent_as_it_is(browser, prefect_server, shown, flow, pages):
    page = browser.page(pages, "light" if pages == "new" else "dark")
    page.goto(f"{prefect_server.url}{PAGES[pages]}/deployments/deployment/{shown[flow]}/run")
    page.get_by_text("credentials", exact=True).wait_for()
    page.wait_for_timeout(500)
    labels = page.locator(LABELS[pages]).all_inner_texts()
    fields = [label for label in labels if label not in GROUPS | NO_PARAMETERS]
    assert "remix" in fields or "shots" in fields
    assert len(fields) <= 12, f"{fields}"
    text = page.locator("body").inner_text()
    assert 'type "None"' not in text
    assert page.evaluate(browsers.LOOK)["scrollBars"] == []
    if flow == "storyboard":
        browsers.save_screenshot(page, f"form-{pages}")
    for _ in range(3):
        with page.expect_response(lambda answer: answer.url.endswith("/create_flow_run")) as sent:
            page.get_by_role("button", name="Submit").last.click()
        if sent.value.status != 503:  # what Prefect says while its SQLite is busy; a person submits once more
            break
        page.wait_for_timeout(1000)
    assert sent.value.status == 201, sent.value.text()
    if flow == "storyboard":
        manifest = in_a_loop_of_its_own(storyboard(**sent.value.json()["parameters"]))
        assert [asset.kind for asset in manifest.assets] == ["image", "video", "video"]
    page.close()
