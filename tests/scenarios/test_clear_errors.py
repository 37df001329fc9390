"""What used to end in an error of Python, or was sent: a sentence that says what is wrong with which value."""

import json
from datetime import UTC, datetime

import pytest
from prefect_media.tasks import agenerate_images, agenerate_video
from pydantic import ValidationError

from prefect_media import ImageRequest, RemixRequest, VideoExtendRequest, VideoJob, VideoRequest
from prefect_media.catalog.sizes import parse_size
from prefect_media.errors import ContentRejected, InvalidRequest, JobFailed, MediaError, ProviderUnavailable, StoreError
from prefect_media.ledger.record import Failure, error_of
from prefect_media.media.load import load
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import problems_of
from prefect_media.simulator import Fault
from prefect_media.storage.store import storage_at
from prefect_media.user_input import DEEPEST, MOST_QUOTED, brief_repr, brief_text, fault_of

TERMS = PurchaseOptions(scope="test", timeout=60)
STILL = ImageRequest(prompt="a fox", model="gpt-image-2")
MOTION = VideoRequest(prompt="a fox", model="wan", seconds=2, size="64x36")


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


# What users pass


@pytest.mark.parametrize("scope", [5, None, b"run", ["run"], True, "", "a\0b", "a\ud800b", "RUN"])
async def test_a_scope_is_a_name(media_simulator, tmp_path, scope):
    with pytest.raises(InvalidRequest, match=r'^scope=.*; pass .*"run", "forever" or a name of your own') as caught:
        await agenerate_images.fn(media_simulator.credentials, STILL, store=str(tmp_path), scope=scope)
    str(caught.value).encode()
    assert not media_simulator.requests


@pytest.mark.parametrize(
    "size", ["１２８０x７２０", "١٢٨٠x٧٢٠", "१२८०x720", "1280×720", "1280X720", "1280x720\n", "1" * 5000 + "x9"]
)
@pytest.mark.parametrize("kind", [ImageRequest, VideoRequest])
def test_a_size_has_plain_digits(kind, size):
    with pytest.raises(ValidationError) as caught:
        kind(prompt="a", model="m", size=size)
    said = problems_of(caught.value)
    assert said.startswith("size: ")
    assert 'write WIDTHxHEIGHT with the digits 0 to 9, such as "1280x720"' in said
    assert len(said) < 400
    assert parse_size(size) is None


@pytest.mark.parametrize("fields", [{"seconds": "８"}, {"seconds": "٨"}, {"variant": "２"}, {"seconds": "8" * 5000}])
def test_a_number_has_plain_digits(fields):
    with pytest.raises(ValidationError):
        VideoRequest(prompt="a", model="m", **fields)


BAD_TEXTS = [("a\0b", "a NUL character at position"), ("ab\ud800", "half of a surrogate pair")]


@pytest.mark.parametrize(("text", "said"), BAD_TEXTS)
@pytest.mark.parametrize(
    "make",
    [
        lambda text: VideoRequest(prompt=text, model="m"),
        lambda text: VideoRequest(prompt="a", model=text),
        lambda text: VideoRequest(prompt="a", model="m", image=text),
        lambda text: VideoRequest(prompt="a", model="m", image=f"/tmp/{text}.png"),
        lambda text: VideoRequest(prompt="a", model="m", extra={"deep": [{"down": text}]}),
        lambda text: VideoRequest(prompt="a", model="m", extra={text: 1}),
        lambda text: ImageRequest(prompt="a", model="m", quality=text),
        lambda text: RemixRequest(prompt="a", video=text),
        lambda text: RemixRequest(prompt="a", video=f"./{text}.mp4"),
    ],
)
def test_text_that_can_not_be_sent_is_refused(make, text, said):
    with pytest.raises(ValidationError) as caught:
        make(text)
    told = problems_of(caught.value)
    assert said in told
    told.encode()


def job(job_id):
    return VideoJob(
        provider="openai", base_url="http://x/v1", model="m", id=job_id, fingerprint="f", submitted_at=datetime.now(UTC)
    )


@pytest.mark.parametrize("job_id", ["video_\n", "video_\0", "video\u2028", "video 1", "video_\ud800", "v" * 5000])
def test_a_job_id_that_is_none_is_refused(job_id):
    handles = [job_id]
    if "\ud800" not in job_id:  # pydantic itself refuses that one in a handle
        handles.append(job(job_id))
    for handle in handles:
        with pytest.raises(ValidationError) as caught:
            VideoExtendRequest(prompt="a", seconds=4, video=handle)
        said = problems_of(caught.value)
        assert said.startswith("video: ")
        assert len(said) < 600
        said.encode()


def test_ordinary_ids_and_texts_are_fine():
    for job_id in ("video_123", "bGl0ZWxsbTo+/w==", "gen-1:2", "café"):
        assert RemixRequest(prompt="a", video=job_id).source_job_id == job_id
    assert VideoRequest(prompt="ein Fuchs\n\tläuft 🦊", model="m", extra={"a": nested(DEEPEST - 1)})


@pytest.mark.parametrize("depth", [DEEPEST + 1, 300, 5_000, 200_000])
def test_deep_json_is_no_extra(depth):
    for extra in ({"a": nested(depth)}, {"a": [nested(depth)]}):
        with pytest.raises(ValidationError) as caught:
            VideoRequest(prompt="a", model="m", extra=extra)
        assert "extra: it is nested more than 100 levels deep" in problems_of(caught.value)


def test_a_circle_is_no_extra():
    extra = {}
    extra["again"] = [extra, extra]
    assert fault_of(extra) == "it is nested more than 100 levels deep"


MILLION = "x" * 1_000_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: VideoRequest(prompt="a", model="m", size=MILLION),
        lambda: VideoRequest(prompt="a", model="m", aspect_ratio=MILLION),
        lambda: VideoRequest(prompt="a", model="m", **{MILLION: 1}),
        lambda: VideoRequest(prompt="a", model="m", extra={MILLION: object()}),
        lambda: RemixRequest(prompt="a", video=MILLION),
    ],
)
def test_a_million_characters_are_not_quoted_by_a_request(make):
    with pytest.raises(ValidationError) as caught:
        make()
    assert len(problems_of(caught.value)) < 1_500


@pytest.mark.parametrize(
    "call",
    [
        lambda s, p: buy_video(s, MOTION.model_copy(update={"image": f"/{MILLION}"}), p, TERMS),
        lambda s, p: buy_images(s, STILL.model_copy(update={"quality": MILLION}), p, TERMS),
        lambda s, p: buy_images(s, STILL.model_copy(update={"extra": {"style": MILLION, "n": MILLION}}), p, TERMS),
        lambda s, p: buy_images(s, STILL.model_copy(update={"model": "mine", "model_family": MILLION}), p, TERMS),
        lambda s, p: buy_images(s, STILL.model_copy(update={"size": MILLION}), p, TERMS),
        lambda s, p: load(f"/{MILLION}/x.png"),
        lambda s, p: load(f"http://127.0.0.1/{MILLION}/x.png"),
    ],
)
async def test_a_million_characters_are_not_quoted_before_a_purchase(media_simulator, tmp_path, call):
    with pytest.raises(InvalidRequest) as caught:
        await call(media_simulator.credentials.connection(), storage_at(str(tmp_path)))
    assert len(str(caught.value)) < 1_500
    assert not media_simulator.requests


@pytest.mark.parametrize("options", [{"store": MILLION}, {"credentials": MILLION}, {"scope": "", "on_doubt": MILLION}])
async def test_a_million_characters_are_not_quoted_by_a_task(prefect, media_simulator, tmp_path, options):
    usual = {"credentials": media_simulator.credentials, "store": str(tmp_path), "scope": "x"}
    with pytest.raises(InvalidRequest) as caught:
        await agenerate_video.fn(request=MOTION, **usual | options)
    assert len(str(caught.value)) < 1_500


def test_what_is_quoted_stays_short_and_can_be_written_down():
    for value in (MILLION, {"a": MILLION}, [MILLION] * 100, nested(5_000), 10**5_000, "a\0\ud800"):
        brief_repr(value).encode()
        assert len(brief_repr(value)) < 1_000
    assert brief_repr("1024x1024") == "'1024x1024'"
    assert brief_text("/tmp/fox.png") == "/tmp/fox.png"
    assert brief_text("a\0b\ud800") == "a\\x00b\\ud800"
    assert len(brief_text(MILLION)) < MOST_QUOTED + 40


# What servers say


AZURE = {
    "error": {
        "code": "content_policy_violation",
        "inner_error": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_results": {
                "jailbreak": {"detected": False, "filtered": False},
                "violence": {"filtered": True, "severity": "high"},
            },
        },
        "message": "Your request was rejected as a result of our safety system.",
        "type": "invalid_request_error",
    }
}
GROUPS = ". Received Model Group=fox\nAvailable Model Group Fallbacks=None"


@pytest.mark.parametrize(
    ("message", "categories"),
    [
        ("litellm.BadRequestError: AzureException - " + json.dumps(AZURE) + GROUPS, ("violence",)),
        ("litellm.BadRequestError: AzureException BadRequestError - Error code: 400 - " + repr(AZURE), ("violence",)),
        (json.dumps(AZURE), ("violence",)),
        ("litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - it was filtered" + GROUPS, ()),
        (
            'AzureException - {"error": {"code": "moderation_blocked", "type": "image_generation_user_error", '
            '"message": "no", "moderation_details": {"moderation_stage": "input", "categories": ["violence"]}}}',
            ("violence",),
        ),
    ],
    ids=["json", "repr", "bare", "words", "details"],
)
async def test_moderation_of_an_azure_deployment_behind_litellm(media_simulator, store, message, categories):
    body = {"error": {"message": message, "type": None, "param": None, "code": "400"}}
    media_simulator.faults.append(Fault("POST", "/images/", "answer", times=None, status=400, body=body))
    with pytest.raises(ContentRejected) as caught:
        await buy_images(media_simulator.credentials.connection(), STILL, store.storage(), TERMS)
    assert caught.value.categories == categories
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    "specific", [{"innererror": AZURE["error"]["inner_error"]}, {"innererror": AZURE["error"]["inner_error"], "x": 1}]
)
async def test_moderation_in_the_fields_of_litellm(media_simulator, tmp_path, specific):
    error = {"message": "filtered", "type": None, "code": "400", "provider_specific_fields": specific}
    media_simulator.faults.append(Fault("POST", "/images/", "answer", times=None, status=400, body={"error": error}))
    with pytest.raises(ContentRejected) as caught:
        await buy_images(media_simulator.credentials.connection(), STILL, storage_at(str(tmp_path)), TERMS)
    assert caught.value.categories == ("violence",)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "no {such} thing {", "code": "400"},
        {"message": "{" * 5000, "code": "400"},
        {"message": '{"error": ' + "[" * 5000, "code": "400"},
        {"message": json.dumps({"error": "content_policy_violation?"}), "code": "400"},
        {"message": "a", "innererror": "not an object", "code": ["x"], "type": {"a": 1}},
        {"message": "a", "code": "moderation_blocked", "moderation_details": "none", "innererror": [1]},
        {"message": "a", "code": "moderation_blocked", "moderation_details": {"categories": 7}},
        {"message": "a", "code": "moderation_blocked", "innererror": {"content_filter_result": {"a": 1}}},
        {"message": {"a": 1}, "code": "400"},
    ],
)
async def test_strange_refusals_are_our_own_errors(media_simulator, tmp_path, error):
    media_simulator.faults.append(Fault("POST", "/images/", "answer", times=None, status=400, body={"error": error}))
    with pytest.raises((InvalidRequest, ContentRejected)):
        await buy_images(media_simulator.credentials.connection(), STILL, storage_at(str(tmp_path)), TERMS)


async def test_a_local_server_is_named_with_its_port(media_simulator, tmp_path):
    connection = media_simulator.credentials.connection()
    host = connection.host
    assert ":" in host
    for status, body in ((400, {"error": {"message": "no"}}), (503, {"error": {"message": "no"}}), (401, {})):
        media_simulator.faults.append(Fault("POST", "/images/", "answer", times=1, status=status, body=body))
        with pytest.raises(MediaError, match=host):
            await buy_images(connection, STILL.model_copy(update={"variant": status}), storage_at(str(tmp_path)), TERMS)


async def test_a_server_that_is_not_there_is_named_with_its_port(tmp_path):
    from prefect_media import OpenAICredentials

    connection = OpenAICredentials(api_key="k", base_url="http://127.0.0.1:9/v1").connection()
    with pytest.raises(ProviderUnavailable, match=r"^127\.0\.0\.1:9 could not be reached"):
        await buy_images(connection, STILL, storage_at(str(tmp_path)), TERMS)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("request_", [STILL, MOTION], ids=["image", "video"])
async def test_deep_json_in_an_answer(media_simulator, tmp_path, status, request_):
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    media_simulator.faults.append(Fault("POST", "/(images|videos)", "answer", times=None, status=status, body=deep))
    buy = buy_images if request_ is STILL else buy_video
    with pytest.raises(MediaError):
        await buy(media_simulator.credentials.connection(), request_, storage_at(str(tmp_path)), TERMS)


# What is on record


def test_an_error_of_the_ledger_comes_from_a_fixed_table():
    for name in ("NoSuchError", "Any", "_rebuild", "__builtins__", "MediaError"):
        error = error_of(Failure(error=name, message="as it was told", details={"job_id": "video_1"}))
        assert type(error) is MediaError
        assert (error.message, error.job_id) == ("as it was told", "video_1")
    assert type(error_of(Failure(error="JobFailed", message="x"))) is JobFailed


def test_damaged_details_of_an_error_are_left_out():
    details = {"message": "b", "self": 1, "__class__": "int", "args": 5, "with_traceback": 1, "details": 2, "code": "c"}
    details |= {"__reduce__": 1, "add_note": 2, "transient": True, "a b": 3}
    error = error_of(Failure(error="JobFailed", message="as it was told", details=details))
    assert (str(error), error.message, error.code, error.transient) == ("as it was told", "as it was told", "c", False)
    assert type(error) is JobFailed


@pytest.mark.parametrize("request_", [STILL, MOTION], ids=["image", "video"])
async def test_a_record_that_is_done_and_names_no_asset(media_simulator, store, request_):
    connection, place = media_simulator.credentials.connection(), store.storage()
    buy = buy_images if request_ is STILL else buy_video
    await buy(connection, request_, place, TERMS)
    [path] = [key async for key, _ in place.list("ledger/purchases/")]
    row = json.loads(await place.read(path))
    row["assets"], row["job"] = [], None
    await place.put(path, json.dumps(row).encode(), content_type="application/json")
    sent = len(media_simulator.requests)
    with pytest.raises(StoreError, match=r"done.*names no (image|video).*jobs forget") as caught:
        await buy(connection, request_, place, TERMS)
    assert not caught.value.transient
    assert caught.value.details["key"] == row["key"]
    assert len(media_simulator.requests) == sent


async def test_a_failed_record_without_a_reason(media_simulator, tmp_path):
    connection, place = media_simulator.credentials.connection(), storage_at(str(tmp_path))
    request = MOTION.model_copy(update={"prompt": "forbidden"})
    with pytest.raises(ContentRejected):
        await buy_video(connection, request, place, TERMS)
    [path] = [key async for key, _ in place.list("ledger/purchases/")]
    row = json.loads(await place.read(path)) | {"failure": None}
    await place.put(path, json.dumps(row).encode(), content_type="application/json")
    with pytest.raises(JobFailed, match=r"failed.*retry_failed=True"):
        await buy_video(connection, request, place, TERMS)
    assert len(media_simulator.jobs) == 1


async def test_a_damaged_note_of_a_reference_is_as_good_as_none(media_simulator, tmp_path):
    from PIL import Image

    path, place = tmp_path / "fox.png", storage_at(str(tmp_path / "store"))
    Image.new("RGB", (64, 36)).save(path)
    connection = media_simulator.credentials.connection()
    await buy_video(connection, MOTION.model_copy(update={"image": str(path)}), place, TERMS)
    [note] = [key async for key, _ in place.list("references/notes/")]
    path.unlink()
    for damaged in (b"[" * 100_000, b"7", b"{", b'{"key": 5}', b'{"image": ["x"], "key": null}'):
        await place.put(note, damaged, content_type="application/json")
        with pytest.raises(InvalidRequest, match="No such file"):
            await buy_video(connection, MOTION.model_copy(update={"image": str(path)}), place, TERMS)


async def test_the_bare_path_with_a_nul(tmp_path):
    with pytest.raises(InvalidRequest, match="NUL character"):
        await load("a\0b.png")
