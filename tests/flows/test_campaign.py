"""Many shots from a file: read and checked as a whole, made within the budget, published, and what failed said."""

import csv
import io
import json
import re

import pytest
from httpx import AsyncClient
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect_media.flows.campaign import _row, campaign
from prefect_media.tasks import Generation
from prefect_media.tasks.outcome_pages import csv_of

from prefect_media import Budget, ImageEditRequest, ImageRequest, MediaStore, VideoRequest
from prefect_media.errors import InvalidRequest
from prefect_media.purchases.shot_list import Shot, read_shots
from prefect_media.storage.store import storage_of

CSV = """\
prompt,kind,model,seconds,size,quality,image,variant,extra
a paper boat,image,gpt-image-2,,1024x1024,low,,,
"it sails, slowly",video,boats-1,4,64x64,,,,"{""seed"": 7}"

it sinks,,boats-1,4,64x64,,,2,
"""
BOAT = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1024x1024", quality="low")
SAILS = VideoRequest(prompt="it sails, slowly", model="boats-1", seconds=4, size="64x64", extra={"seed": 7})
SINKS = VideoRequest(prompt="it sinks", model="boats-1", seconds=4, size="64x64", variant=2)


@pytest.fixture
def file(tmp_path):
    """Writes a file of shots."""

    def write(content, name="shots.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


# The file.


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        "\ufeff" + CSV.replace("\n", "\r\n"),
        CSV.replace(",", ";").replace("it sails; slowly", "it sails, slowly"),
        CSV.replace(",", "\t").replace("it sails\t slowly", "it sails, slowly"),
    ],
    ids=["comma", "excel", "semicolon", "tab"],
)
async def test_csv(content, file):
    shots = await read_shots(file(content))
    assert [shot.request for shot in shots] == [BOAT, SAILS, SINKS]
    assert [shot.place for shot in shots] == ["line 2", "line 3", "line 5"]


async def test_json_and_json_lines_with_defaults(file):
    rows = [
        {"kind": "image", "prompt": "a paper boat", "model": "gpt-image-2", "size": "1024x1024", "quality": "low"},
        {"prompt": "it sails, slowly", "extra": {"seed": 7}},
        {"prompt": "it sinks", "variant": 2},
    ]
    defaults = {"model": "boats-1", "seconds": 4, "size": "64x64"}
    for content, places in (
        (json.dumps(rows, indent=1), ["item 1", "item 2", "item 3"]),
        ("\n\n".join(map(json.dumps, rows)), ["line 1", "line 3", "line 5"]),
    ):
        shots = await read_shots(file(content), defaults)
        assert [shot.request for shot in shots] == [BOAT, SAILS, SINKS]
        assert [shot.place for shot in shots] == places
    [edit] = await read_shots(
        file('{"prompt": "a hat"}'), {"kind": "edit", "model": "gpt-image-2", "images": "fox.png"}
    )
    assert edit.request == ImageEditRequest(prompt="a hat", model="gpt-image-2", images=["fox.png"])


async def test_a_file_in_a_bucket(store):
    storage = store.storage()
    await storage.put("shots.csv", CSV.encode(), content_type="text/csv")
    if store.url.startswith("s3:"):
        assert storage_of(storage.uri("shots.csv"))[0].options == storage.options
    assert len(await read_shots(storage.uri("shots.csv"))) == 3


async def test_all_that_is_wrong_is_said_at_once(file):
    content = (
        "prompt,kind,model,seconds,size,extra\n"
        ",video,boats-1,4,64x64,\n"
        "fine,video,boats-1,4,64x64,\n"
        "too long,song,boats-1,4,64x64,\n"
        "fine,video,boats-1,4,64x64,\n"
        "half,video,boats-1,4.5,64by64,\n"
        "what,image,,4,,\n"
        "x,video,boats-1,4,64x64,{seed}\n"
        "a, b,video,boats-1,4,64x64,,\n"
    )
    with pytest.raises(InvalidRequest) as refused:
        await read_shots(file(content))
    told = str(refused.value).splitlines()
    assert told[0] == "7 of the shots can't work, so nothing was sent:"
    for line, words in {
        2: "prompt",
        4: "kind='song' is not possible; choose from video, image, edit",
        6: "seconds",
        7: "ImageRequest has no field seconds",
        8: "Expecting property name",
        9: "more cells than the first line has columns",
        5: "the same as line 3; to make another one of it, give it a variant",
    }.items():
        [complaint] = [each for each in told if each.startswith(f"  line {line}: ")]
        assert words in complaint
    with pytest.raises(InvalidRequest, match="and 80 more"):
        await read_shots(file("prompt\n" + "x\n" * 100))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no shots"),
        ("prompt,model\n", "has no shots"),
        ("[]", "has no shots"),
        ("[1]", "1 is not an object"),
        ('[{"prompt": ]', "can't be read as CSV, JSON or JSON lines"),
        ('{"prompt": "a"}\n{"prompt"', "line 2"),
        (b"prompt\n\xff\xfe", "UTF-8"),
        ('prompt\n"never closed', "can't be read"),
    ],
)
async def test_files_that_are_none(content, words, file):
    with pytest.raises(InvalidRequest, match=words):
        await read_shots(file(content))
    with pytest.raises(InvalidRequest, match="defaults has colour, which no request has"):
        await read_shots(file(CSV), {"colour": "red"})
    with pytest.raises(InvalidRequest, match=r"the file of shots /nowhere/shots\.csv can't be read: No such file"):
        await read_shots("/nowhere/shots.csv")


# The flow.


@pytest.fixture
def prices(tmp_path, configure):
    """0.10 USD a second for the model that films."""
    path = tmp_path / "prices.toml"
    path.write_text('[prices."boats-1"]\nper_second = 0.1\n')
    configure(prices=path)


async def artifacts_of(state):
    """What a run left on Prefect's pages."""
    async with get_client() as client:
        return await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )


async def table_of(state):
    """The rows of the table that a run left."""
    artifacts = await artifacts_of(state)
    assert {artifact.key for artifact in artifacts} >= {"campaign"}
    [table] = [json.loads(artifact.data) for artifact in artifacts if artifact.key == "campaign"]
    return table, {artifact.key for artifact in artifacts if not artifact.key.startswith("media-")}  # the live page's


@pytest.mark.usefixtures("prefect")
async def test_a_campaign(media_simulator, store, file, caplog):
    media_simulator.latency = 0.05
    state = await campaign(media_simulator.credentials, file(CSV), store=store, return_state=True)
    assert re.search(r"3 shots, 0\.\d\d USD, and 2 of them have no known price", caplog.text)
    manifest = await state.aresult()
    assert [asset.source.model for asset in manifest.assets] == ["gpt-image-2", "boats-1", "boats-1"]
    assert (await manifest.averify()).ok
    table, keys = await table_of(state)
    assert [row["shot"] for row in table] == ["line 2", "line 3", "line 5"]
    assert keys == {"campaign", "campaign-gallery"}


@pytest.mark.usefixtures("prefect")
async def test_a_long_list_is_in_a_file_and_its_first_rows_on_the_pages(media_simulator, s3, file, monkeypatch):
    monkeypatch.setattr("prefect_media.tasks.outcome_pages.MOST_SHOWN", 2)
    media_simulator.latency = 0.05
    prompts = ['"=HYPERLINK(""http://example.com"")"', "a boat", "-1 boats", "explode"]
    shots = file("prompt,model,seconds,size\n" + "".join(f"{prompt},boats-1,4,64x64\n" for prompt in prompts))
    store = s3.store()
    state = await campaign(media_simulator.credentials, shots, scope="autumn", store=store, return_state=True)
    assert state.message.startswith("1 of 4 shots failed; the others are published")

    pages = {artifact.key: artifact for artifact in await artifacts_of(state)}
    table, gallery = pages["campaign"], pages["campaign-gallery"].data
    assert [row["shot"] for row in json.loads(table.data)] == ["line 2", "line 3"]
    assert gallery.count("<img ") == 2
    address = re.escape(f"[{store.url}autumn/manifest.csv](<")
    [link] = re.findall(f"rows 1 to 2 of 4; all of them: {address}(.+)>\\)", table.description)
    assert f"cards 1 to 2 of 4; all of them: [{store.url}autumn/manifest.csv](<" in gallery
    async with AsyncClient() as browser:
        served = await browser.get(link)
    assert served.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(served.content.decode("utf-8-sig"))))
    assert [row["shot"] for row in rows] == ["line 2", "line 3", "line 4", "line 5"]
    harmless = ['\'=HYPERLINK("http://example.com")', "a boat", "'-1 boats", "explode"]
    assert [row["prompt"] for row in rows] == harmless
    assert [row["outcome"] for row in rows] == ["made", "made", "made", "JobFailed"]
    assert rows[0]["where, or why"].startswith(f"{store.url}media/")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\n=1"])
def test_no_cell_of_the_file_is_a_formula(text):
    file = csv_of([{"a": text, "b": "1 - 1"}, {"a": -1.5, "b": "a=b"}]).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(file, newline="")))[1:] == [[f"'{text}", "1 - 1"], ["-1.5", "a=b"]]


def test_a_private_prompt_is_not_in_the_table(configure):
    assert _row(Shot("line 2", SAILS), Generation(0, SAILS))["prompt"] == "it sails, slowly"
    configure(log_prompts=0)
    assert "sails" not in str(_row(Shot("line 2", SAILS), Generation(0, SAILS)))


@pytest.mark.usefixtures("prefect")
async def test_nothing_is_sent_when_a_shot_can_not_work(media_simulator, tmp_path, file):
    content = CSV + "gone,image,gpt-image-2,,1x1,,,,\nheavy,image,gpt-image-2,,1024x1024,best,,,\n"
    with pytest.raises(InvalidRequest, match=r"(?s)2 of the shots can't work.*line 6: .*1x1.*line 7: .*best"):
        await campaign(media_simulator.credentials, file(content), store=str(tmp_path / "store"))
    assert media_simulator.requests == []


@pytest.mark.usefixtures("prefect", "prices")
async def test_what_the_budget_does_not_allow_is_made_by_a_later_run(media_simulator, tmp_path, file):
    media_simulator.latency = 0.05
    store = MediaStore(url=str(tmp_path / "store"))
    shots = file("prompt,variant\n" + "".join(f"boat {number},0\n" for number in range(5)))

    async def run(usd):
        return await campaign(
            media_simulator.credentials,
            shots,
            budget=Budget(usd=usd, period="forever"),
            defaults={"model": "boats-1", "seconds": 4, "size": "64x64"},
            scope="autumn",
            store=store,
            concurrency=1,  # so the first ones get it
            return_state=True,
        )

    short = await run(1.3)
    assert short.type == StateType.FAILED
    assert short.message.startswith("2 of 5 shots failed; the others are published: file://")
    assert "autumn/manifest.json. The first: line " in short.message
    assert "this would cost 0.40 USD" in short.message
    table, _ = await table_of(short)
    assert [row["outcome"] for row in table] == ["made"] * 3 + ["BudgetExceeded"] * 2
    assert "0.40 USD" in table[3]["where, or why"]
    assert len(media_simulator.jobs) == 3

    whole = await (await run(2)).aresult()
    assert len(whole.assets) == len(media_simulator.jobs) == 5
    assert whole.total_cost_usd == pytest.approx(2)


@pytest.mark.usefixtures("prefect")
async def test_the_gallery_shows_every_shot_and_why_the_others_failed(media_simulator, tmp_path, file):
    media_simulator.latency = 0.05
    images = "".join(f"boat {number},image,gpt-image-2,,1024x1024\n" for number in range(27))
    videos = "".join(f"{prompt},video,boats-1,4,64x64\n" for prompt in ("explode", "explode again", "explode at last"))
    state = await campaign(
        media_simulator.credentials,
        file(f"prompt,kind,model,seconds,size\n{images}{videos}"),
        store=str(tmp_path / "store"),
        return_state=True,
    )
    assert state.message.startswith("3 of 30 shots failed; the others are published")
    pages = {artifact.key: artifact.data for artifact in await artifacts_of(state)}
    first, second = pages["campaign-gallery"], pages["campaign-gallery-2"]
    assert "27 images · 3 failed" in first
    assert first.count("<img ") == 24
    assert second.count("<img ") == 6
    for number, prompt in enumerate(("explode", "explode again", "explode at last"), 1):
        assert f"{number} · failed</sub><br><b>{prompt}</b><br><i>The video could not be" in first


@pytest.mark.usefixtures("prefect")
async def test_when_all_fail_nothing_is_published(media_simulator, tmp_path, file, caplog):
    media_simulator.latency = 0.05
    content = "prompt,model,seconds,size\nexplode,boats-1,4,64x64\n"
    state = await campaign(media_simulator.credentials, file(content), store=str(tmp_path / "store"), return_state=True)
    assert "1 shot, and no price is known" in caplog.text
    assert state.message.startswith("1 of 1 shots failed. The first: line 2: ")
    assert not list((tmp_path / "store").rglob("manifest.json"))


@pytest.mark.usefixtures("prefect")
async def test_images_from_one_provider_and_videos_from_another(media_simulator, tmp_path, file):
    from prefect_media.simulator import Simulator

    with Simulator(latency=0.05) as other:
        state = await campaign(
            media_simulator.credentials,
            file(CSV),
            image_credentials=other.credentials,
            store=str(tmp_path / "store"),
            return_state=True,
        )
        assert len((await state.aresult()).assets) == 3
        assert (len(other.images), len(other.jobs)) == (1, 0)
    assert (len(media_simulator.images), len(media_simulator.jobs)) == (0, 2)
