"""What a server says that a job cost, or an account says that was spent, when no such figure can be."""

import io
import json
import math
from base64 import b64encode

import pytest
from buyer import connection, terms
from PIL import Image

from prefect_media import Budget, ImageRequest, VideoRequest
from prefect_media.catalog import prices as costs
from prefect_media.errors import JobFailed, StoreError
from prefect_media.jobs import JobState
from prefect_media.ledger.accounts import Account, read
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at
from prefect_media.waiting.deadlines import Patience, Watch

BUDGET = Budget(usd=1, period="forever", unpriced_usd=0.4)
ABSURD = [-50, -0.01, math.nan, math.inf, -math.inf, "0.4", "nan", True, False, [], {}, 10**30]
CLIP = VideoRequest(prompt="a paper boat", model="boats-1", seconds=1, size="64x64")


@pytest.fixture
def simulator():
    with Simulator(latency=0.0) as simulator:
        yield simulator


@pytest.fixture
def storage(tmp_path, configure):
    configure(poll_seconds=0.05)
    return storage_at(str(tmp_path / "store"))


async def account(storage, budget=BUDGET):
    return read((await storage.fetch(budget.path(None))).data)


async def the_record(storage):
    [record] = [record async for record in Ledger(storage).purchases()]
    return record


# What servers say.


@pytest.mark.parametrize("said", ABSURD, ids=repr)
def test_a_cost_that_is_no_amount_is_unknown(said):
    state = JobState.parse({"id": "v", "status": "completed", "cost_usd": said})
    assert state.cost_usd is None


@pytest.mark.parametrize("said", [0, 0.0, 0.25, 3])
def test_a_cost_that_is_an_amount_is_kept(said):
    assert JobState.parse({"id": "v", "status": "completed", "cost_usd": said}).cost_usd == said


def test_a_failed_job_with_an_absurd_cost_is_not_said_to_be_free():
    failed = JobState.parse({"id": "v", "status": "failed", "cost_usd": -50})
    verdict = Watch("v", Patience(60), now=0.0).judge(failed, 1.0)
    assert isinstance(verdict, JobFailed)
    assert verdict.billed is None


def tokens(**changed):
    used = {
        "input_tokens": 30,
        "output_tokens": 100,
        "input_tokens_details": {
            "text_tokens": 10,
            "image_tokens": 20,
            "cached_tokens_details": {"text_tokens": 5, "image_tokens": 0},
        },
        "output_tokens_details": {"image_tokens": 100, "text_tokens": 0},
    }
    parts = {
        "text": used["input_tokens_details"],
        "cached": used["input_tokens_details"]["cached_tokens_details"],
        "out": used["output_tokens_details"],
        "all": used,
    }
    for name, value in changed.items():
        part, _, field = name.partition("_")
        parts[part][field] = value
    return used


@pytest.mark.parametrize("said", ABSURD, ids=repr)
@pytest.mark.parametrize("place", ["text_text_tokens", "text_image_tokens", "cached_text_tokens", "out_image_tokens"])
def test_tokens_that_nobody_can_count_cost_nobody_knows_what(place, said):
    assert costs.of_images("gpt-image-2", "openai", tokens(**{place: said})) is None


def test_more_cached_tokens_than_tokens_are_absurd():
    assert costs.of_images("gpt-image-2", "openai", tokens(cached_text_tokens=11)) is None
    assert costs.of_images("gpt-image-2", "openai", tokens(cached_image_tokens=21)) is None


def test_more_tokens_of_text_than_tokens_are_absurd():
    used = {"input_tokens": 5, "output_tokens": 10, "output_tokens_details": {"text_tokens": 60}}
    assert costs.of_images("gpt-image-2", "openai", used) is None


def test_honest_tokens_still_have_a_price():
    assert costs.of_images("gpt-image-2", "openai", tokens()) > 0


@pytest.mark.parametrize("seconds", [-4, math.nan, math.inf, 1e300])
def test_a_length_that_no_film_has_has_no_price(seconds):
    assert costs.of_video("sora-2", "openai", seconds, "1280x720") is None


@pytest.mark.parametrize("said", [-50, "-50", "NaN", math.nan, True], ids=repr)
async def test_an_absurd_cost_books_what_was_reserved(simulator, storage, said):
    """OpenRouter tells the cost in `usage.cost`."""
    at = connection(simulator, dialect="openrouter")
    body = json.dumps({"id": "JOB", "status": "completed", "usage": {"cost": said}})

    def look():
        simulator.faults.append(
            Fault(
                "GET",
                "/videos/[^/]+$",
                "answer",
                status=200,
                body=body.replace("JOB", simulator.jobs[0].id),
                times=None,
            )
        )

    simulator.faults.append(Fault("POST", "/videos$", "hold_reply", seconds=0, after_accept=look))
    asset = await buy_video(at, CLIP, storage, terms(budget=BUDGET))
    assert asset.source.cost_usd is None
    assert (await account(storage)).spent_usd == 0.4
    assert (await the_record(storage)).cost_usd is None


async def test_negative_tokens_book_what_was_reserved(simulator, storage):
    request = ImageRequest(prompt="a boat", model="gpt-image-2", size="1024x1024", quality="low", output_format="png")
    picture = io.BytesIO()
    Image.new("RGB", (1024, 1024)).save(picture, "PNG")
    body = {
        "created": 1,
        "data": [{"b64_json": b64encode(picture.getvalue()).decode()}],
        "usage": tokens(text_text_tokens=-(10**9)),
    }
    simulator.faults.append(Fault("POST", "/images/generations$", "answer_after", status=200, body=body))
    estimate = costs.estimate(request)
    [asset] = await buy_images(connection(simulator), request, storage, terms(budget=BUDGET))
    assert asset.source.cost_usd is None
    assert (await account(storage)).spent_usd == pytest.approx(estimate)


# What the account says.


GOOD = {"spent_usd": 0.5, "purchases": 1, "reserved": {"k": {"usd": 0.1, "attempt": 1, "lost_usd": 0.0}}}
DAMAGED = {
    "spent a negative amount": {**GOOD, "spent_usd": -5},
    "spent NaN": {**GOOD, "spent_usd": math.nan},
    "spent infinity": {**GOOD, "spent_usd": math.inf},
    "spent nothing at all": {**GOOD, "spent_usd": None},
    "spent text": {**GOOD, "spent_usd": "0.5"},
    "spent true": {**GOOD, "spent_usd": True},
    "minus one purchase": {**GOOD, "purchases": -1},
    "negative reserved": {**GOOD, "reserved": {"k": {"usd": -9, "attempt": 1}}},
    "NaN reserved": {**GOOD, "reserved": {"k": {"usd": math.nan, "attempt": 1}}},
    "negative lost": {**GOOD, "reserved": {"k": {"usd": 1, "attempt": 1, "lost_usd": -9}}},
    "a list": [],
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED.keys())
async def test_a_damaged_account_lets_nothing_pass(simulator, storage, damaged):
    await storage.put(BUDGET.path(None), json.dumps(damaged).encode(), content_type="application/json")
    with pytest.raises(StoreError, match=f"(?s)can't be read: {BUDGET.path(None)}.*correct") as caught:
        await buy_video(connection(simulator), CLIP, storage, terms(budget=BUDGET))
    assert not caught.value.transient
    assert simulator.jobs == []


async def test_an_account_of_before_is_still_read():
    assert read(json.dumps(GOOD).encode()) == Account(**GOOD)
    assert read(b"{}") == Account()


@pytest.mark.parametrize("cost", [-50.0, math.nan, math.inf])
def test_an_account_never_takes_an_absurd_cost(cost):
    """A record that an earlier version wrote, or somebody's hand, may have one."""
    account = Account().reserve("k", 0.4, attempt=1, paid_before=False, limit=1)
    assert account.settle("k", bought=True, usd=cost).spent_usd == 0.4


async def test_prices_of_ones_own_that_are_absurd_reserve_nothing(simulator, storage, tmp_path, configure):
    path = tmp_path / "prices.toml"
    path.write_text('[prices."boats-1"]\nper_second = -0.1\n')
    configure(prices=path)
    await buy_video(connection(simulator), CLIP, storage, terms(budget=BUDGET))
    assert (await account(storage)).spent_usd == 0.4
