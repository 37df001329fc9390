"""The simulator's videos endpoints: jobs, listing, refusals, downloads in parts."""

import base64
import io
import time

import openai
import pytest
from openai.types import Video, VideoDeleteResponse
from PIL import Image

from prefect_media.simulator import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

REQUIRED = {
    *("id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at"),
    *("prompt", "size", "seconds", "remixed_from_video_id", "error"),
}


@pytest.fixture
def server():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def client(server):
    return client_of(server)


def client_of(simulator: Simulator) -> openai.OpenAI:
    return openai.OpenAI(api_key="any", base_url=simulator.url, max_retries=0)


def finished(client: openai.OpenAI, job_id: str) -> Video:
    deadline = time.monotonic() + 10
    while (job := client.videos.retrieve(job_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return job


def bought(client: openai.OpenAI, prompt: str = "a boat", **fields) -> Video:
    fields = {"model": "open-video", "size": "64x64", "seconds": "1"} | fields
    return finished(client, client.videos.create(prompt=prompt, **fields).id)


def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 40, 40)).save(file, "PNG")
    return file.getvalue()


def rejected(call, *, code: str | None, param: str | None) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        call()
    assert (caught.value.code, caught.value.param) == (code, param)
    return caught.value


def test_a_job_is_queued_runs_and_completes():
    with Simulator(latency=0.6) as server:
        client = client_of(server)
        before = int(time.time())
        raw = client.videos.with_raw_response.create(prompt="a boat", model="sora-2", seconds="8", size="1280x720")
        assert set(raw.http_response.json()) == REQUIRED
        job = Video.model_validate_json(raw.content)
        assert (job.status, job.progress, job.completed_at, job.expires_at) == ("queued", 0, None, None)
        assert job.id.startswith("video_")
        assert (job.seconds, job.size, job.model) == ("8", "1280x720", "sora-2")
        seen: list[tuple[str, int]] = [(job.status, job.progress)]
        while seen[-1][0] != "completed":
            raw = client.videos.with_raw_response.retrieve(job.id)
            job = Video.model_validate_json(raw.content)
            seen.append((job.status, job.progress))
            time.sleep(0.05)
    assert list(dict.fromkeys(status for status, _ in seen)) == ["queued", "in_progress", "completed"]
    assert [progress for _, progress in seen] == sorted(progress for _, progress in seen)
    assert any(0 < progress < 100 for _, progress in seen) and job.progress == 100
    assert before <= job.created_at <= job.completed_at < job.expires_at


def test_what_was_asked_is_on_record(client, server):
    client.videos.create(prompt="a boat", model="sora-2", input_reference=png((720, 1280)))
    (job,) = server.jobs
    assert (job.operation, job.model, job.prompt, job.size, job.seconds) == (
        *("generate", "sora-2", "a boat", "720x1280", "4"),
    )
    (request,) = server.requests
    assert (request.method, request.path, request.status) == ("POST", "/v1/videos", 200)
    assert request.headers["authorization"] == "Bearer any"
    assert request.body["prompt"] == "a boat"
    assert request.body["input_reference"].data == png((720, 1280))


def test_json_and_nested_form_fields_are_as_good_as_a_file(client, server):
    link = {"image_url": "data:image/png;base64," + base64.b64encode(png((64, 48))).decode()}
    body = {"prompt": "a boat", "model": "open", "size": "64x48", "seconds": 1}
    client.post("/videos", body=body | {"input_reference": link}, cast_to=Video)
    client.videos.create(**body, extra_body={"input_reference": link})  # the SDK sends input_reference[image_url]
    client.videos.create(**body, input_reference=png((64, 48)))
    assert len({job.film for job in server.jobs}) == 1


def test_the_word_forbidden_fails_the_job_as_moderation_does(client):
    job = bought(client, "something forbidden")
    assert job.status == "failed"
    assert job.error and job.error.code == "moderation_blocked" and job.error.message
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(job.id)


def test_the_word_explode_fails_the_job_at_the_server(client):
    job = bought(client, "explode!")
    assert (job.status, job.error and job.error.code) == ("failed", "server_error")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"seconds": "5"}, "invalid_value", "seconds"),
        ({"seconds": "10"}, "invalid_value", "seconds"),
        ({"seconds": 0}, "invalid_value", "seconds"),
        ({"size": "640x480"}, "invalid_value", "size"),
        ({"size": "HD"}, "invalid_value", "size"),
        ({"prompt": ""}, "empty_string", "prompt"),
        ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
        ({"seed": 1}, "unknown_parameter", "seed"),
        ({"model": "open", "seconds": "61"}, "invalid_value", "seconds"),
        ({"model": "open", "seconds": "1.5"}, "invalid_value", "seconds"),
        ({"model": "open", "size": "4097x64"}, "invalid_value", "size"),
        ({"model": "open", "size": "64"}, "invalid_value", "size"),
        ({"input_reference": {"file_id": "f", "image_url": "u"}}, "invalid_value", "input_reference"),
        ({"input_reference": {"image_url": "data:,x"}}, "invalid_base64", "input_reference.image_url"),
        ({"input_reference": "a string"}, "invalid_type", "input_reference"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name(client, server, fields, code, param):
    body = {"prompt": "a boat", "model": "sora-2"} | fields
    rejected(lambda: client.post("/videos", body=body, cast_to=Video), code=code, param=param)
    assert server.jobs == []


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "sora-2", "seconds": "12", "size": "1024x1792"},
        {"model": "sora-2", "seconds": 8, "size": "1024x1024"},
        {"model": "sora-2", "size": "800x1280"},
        {"model": "sora-2-pro", "seconds": "25", "size": "1280x800"},
        {"model": "wan-2.2", "seconds": "60", "size": "832x480", "seed": 7, "negative_prompt": "rain"},
    ],
)
def test_what_a_model_takes_is_accepted(client, server, fields):
    client.post("/videos", body={"prompt": "a boat"} | fields, cast_to=Video)
    assert server.jobs[0].seconds == str(fields.get("seconds", "4"))


def test_a_reference_must_be_an_image_of_exactly_the_size(client, server):
    def send(reference: bytes):
        return lambda: client.videos.create(prompt="a boat", model="sora-2", size="1280x720", input_reference=reference)

    error = rejected(send(png((1280, 721))), code="invalid_value", param="input_reference")
    assert "Inpaint image must match the requested width and height" in str(error.body)
    rejected(send(b"no image"), code="invalid_image_file", param="input_reference")
    assert server.jobs == []


def test_a_remix_an_edit_and_an_extension_are_jobs_of_their_own(client, server):
    source = bought(client)
    remix = client.videos.remix(source.id, prompt="at night")
    edit = client.post("/videos/edits", body={"prompt": "in fog", "video": {"id": source.id}}, cast_to=Video)
    body = {"prompt": "and on", "seconds": "2", "video": {"id": source.id}}
    longer = client.post("/videos/extensions", body=body, cast_to=Video)
    assert [job.operation for job in server.jobs] == ["generate", "remix", "edit", "extend"]
    assert [job.source_id for job in server.jobs] == [None, source.id, source.id, source.id]
    assert (remix.remixed_from_video_id, edit.remixed_from_video_id) == (source.id, None)
    assert (remix.model, remix.size, remix.seconds) == (source.model, source.size, source.seconds)
    assert longer.seconds == "3"


def test_an_uploaded_clip_can_be_edited_and_extended(client, server):
    clip = client.videos.download_content(bought(client, seconds="2").id).content
    edit = client.videos.edit(prompt="in fog", video=("clip.mp4", clip))
    longer = client.videos.extend(prompt="and on", seconds="4", video=("clip.mp4", clip))
    assert (edit.seconds, edit.size, longer.seconds) == ("2", "64x64", "6")
    rejected(lambda: client.videos.edit(prompt="x", video=b"no clip"), code="invalid_value", param="video")


def test_only_a_finished_video_can_be_made_over():
    with Simulator(latency=60) as server:
        client = client_of(server)
        job = client.videos.create(prompt="a boat", model="sora-2")
        rejected(lambda: client.videos.remix(job.id, prompt="x"), code=None, param="video")
        with pytest.raises(openai.NotFoundError, match="404"):
            client.videos.remix("video_none", prompt="x")
        assert len(server.jobs) == 1


def test_a_list_has_pages_in_both_orders(client):
    ids = [client.videos.create(prompt=f"boat {n}", model="sora-2").id for n in range(5)]
    first = client.videos.list(limit=2)
    assert [job.id for job in first.data] == ids[:-3:-1]
    shown = first.model_dump()
    assert (shown["has_more"], shown["first_id"], shown["last_id"]) == (True, ids[4], ids[3])
    assert [job.id for job in client.videos.list(limit=2)] == ids[::-1]  # the SDK follows `after`
    assert [job.id for job in client.videos.list(limit=2, order="asc")] == ids
    last = client.videos.list(limit=2, order="asc", after=ids[2])
    assert [job.id for job in last.data] == ids[3:] and not last.has_more
    empty = client.videos.list(limit=0)
    assert empty.data == [] and empty.has_more
    for entry in first.data:
        Video.model_validate_json(entry.model_dump_json())
    with pytest.raises(openai.BadRequestError):
        client.videos.list(limit=101)
    with pytest.raises(openai.NotFoundError):
        client.videos.list(after="video_none")


def test_a_deleted_job_is_gone_but_on_record(client, server):
    job = bought(client)
    gone = client.videos.delete(job.id)
    assert VideoDeleteResponse.model_validate(gone.model_dump()).deleted
    for call in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError):
            call(job.id)
    assert list(client.videos.list()) == []
    assert server.jobs[0].deleted


def test_content_comes_only_from_a_completed_job_and_not_for_ever():
    with Simulator(latency=60) as server:
        client = client_of(server)
        job = client.videos.create(prompt="a boat", model="sora-2")
        with pytest.raises(openai.NotFoundError) as caught:
            client.videos.download_content(job.id)
        assert "not ready yet" in caught.value.body["message"]
        with pytest.raises(openai.BadRequestError):
            client.videos.delete(job.id)
    with Simulator(latency=0, expires_in=0) as server:
        client = client_of(server)
        job = bought(client)
        assert job.status == "completed"
        with pytest.raises(openai.NotFoundError) as caught:
            client.videos.download_content(job.id)
        assert "expired" in caught.value.body["message"]


def test_the_variants_of_the_content(client):
    job = bought(client)
    for variant, kind, pillow in (("thumbnail", "image/webp", "WEBP"), ("spritesheet", "image/jpeg", "JPEG")):
        answer = client.videos.download_content(job.id, variant=variant)
        assert answer.response.headers["content-type"] == kind
        assert Image.open(io.BytesIO(answer.content)).format == pillow
    with pytest.raises(openai.BadRequestError):
        client.videos.download_content(job.id, variant="poster")


def test_content_can_be_fetched_in_parts(client):
    job = bought(client)

    def part(asked: str, **headers: str):
        answer = client.videos.download_content(job.id, extra_headers={"Range": asked, **headers})
        return answer.response.status_code, answer.response.headers, answer.content

    whole = client.videos.download_content(job.id)
    size, etag = len(whole.content), whole.response.headers["etag"]
    assert whole.response.headers["content-length"] == str(size)
    assert (whole.response.headers["accept-ranges"], whole.response.headers["content-type"]) == (
        *("bytes", "video/mp4"),
    )
    for asked, expected, shown in (
        ("bytes=100-199", whole.content[100:200], "100-199"),
        ("bytes=100-", whole.content[100:], f"100-{size - 1}"),
        ("bytes=-50", whole.content[-50:], f"{size - 50}-{size - 1}"),
        (f"bytes=0-{size + 99}", whole.content, f"0-{size - 1}"),
    ):
        status, headers, content = part(asked)
        assert (status, content) == (206, expected)
        assert headers["content-range"] == f"bytes {shown}/{size}"
    assert part("bytes=5-9", **{"If-Range": etag})[0] == 206
    assert part("bytes=5-9", **{"If-Range": '"other"'})[0] == 200
    with pytest.raises(openai.APIStatusError) as caught:
        part(f"bytes={size}-")
    assert caught.value.status_code == 416
    assert caught.value.response.headers["content-range"] == f"bytes */{size}"


def test_a_pace_is_suggested_only_if_wanted(client):
    assert "openai-poll-after-ms" not in client.videos.with_raw_response.create(prompt="a", model="open").headers
    with Simulator(poll_after_ms=25) as server:
        started = time.monotonic()
        job = client_of(server).videos.create_and_poll(prompt="a", model="open", size="64x64")
        assert job.status == "completed"
        assert time.monotonic() - started < 0.9  # the SDK's own pace is a second


def test_a_restart_keeps_the_port_and_the_jobs(server, client):
    url, job = server.url, client.videos.create(prompt="a boat", model="open")
    server.stop()
    with pytest.raises(openai.APIConnectionError):
        client.videos.retrieve(job.id)
    server.start()
    assert server.url == url
    assert client.videos.retrieve(job.id).id == job.id
