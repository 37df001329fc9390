"""The simulator's files and batches, by the real SDK over a real socket."""

import base64
import json

import httpx
import openai
import pytest
from openai.types import Batch, FileObject, ImagesResponse

from prefect_media.simulator import Simulator

ENDPOINT = "/v1/images/generations"


@pytest.fixture
def server():
    with Simulator(latency=0) as simulator:
        yield simulator


@pytest.fixture
def client(server):
    with openai.OpenAI(api_key="any", base_url=server.url, max_retries=0) as client:
        yield client


def line(number, prompt="a boat", **more):
    body = {"model": "boats-1", "prompt": prompt, "size": "64x64"}
    return {"custom_id": f"line-{number}", "method": "POST", "url": ENDPOINT, "body": body, **more}


def uploaded(client, *lines):
    content = b"\n".join(json.dumps(each).encode() if isinstance(each, dict) else each for each in lines)
    return client.files.create(file=("images.jsonl", content), purpose="batch")


def ordered(client, *lines, **more):
    file = uploaded(client, *lines)
    return client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", **more)


def rows(client, file_id):
    return {row["custom_id"]: row for row in map(json.loads, client.files.content(file_id).text.splitlines())}


def test_a_file_goes_up_comes_down_and_is_deleted(client, server):
    file = uploaded(client, line(1))
    raw = client.files.with_raw_response.retrieve(file.id).http_response.json()
    assert FileObject.model_validate(raw, strict=True) == file
    content = client.files.content(file.id).content
    assert json.loads(content) == line(1)
    assert file.bytes == len(content)
    part = httpx.get(
        f"{server.url}/files/{file.id}/content", headers={"Authorization": "Bearer x", "Range": "bytes=3-5"}
    )
    assert (part.status_code, part.content) == (206, content[3:6])
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


@pytest.mark.parametrize("purpose", ["assistants", "batch", "evals", "fine-tune", "user_data", "vision"])
def test_files_are_kept_for_any_purpose_and_listed(client, purpose):
    kept = [client.files.create(file=(f"{number}.txt", b"x" * number), purpose=purpose) for number in (1, 2, 3)]
    client.files.create(file=("other.txt", b"x"), purpose="vision" if purpose == "batch" else "batch")
    raw = client.files.with_raw_response.list().http_response.json()
    assert set(raw) == {"object", "data", "first_id", "last_id", "has_more"}
    assert (len(raw["data"]), raw["has_more"]) == (4, False)
    assert [file.id for file in client.files.list(purpose=purpose, limit=2)] == [file.id for file in reversed(kept)]
    assert [file.bytes for file in client.files.list(purpose=purpose, order="asc")] == [1, 2, 3]


def test_a_file_without_a_purpose_or_of_an_unknown_one_is_refused(client):
    for purpose in ("toys", openai.omit):
        with pytest.raises(openai.BadRequestError) as caught:
            client.files.create(file=("a.txt", b"x"), purpose=purpose)
        assert caught.value.param == "purpose"


def test_only_a_file_for_batches_makes_a_batch(client, server):
    file = client.files.create(file=("images.jsonl", json.dumps(line(1)).encode()), purpose="user_data")
    with pytest.raises(openai.BadRequestError):
        client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    assert not server.batches


def test_an_edit_may_start_from_a_file(client, server):
    picture = base64.b64decode(client.images.generate(model="boats-1", prompt="a boat", size="64x64").data[0].b64_json)
    file = client.files.create(file=("boat.png", picture), purpose="vision")
    body = {"model": "boats-1", "prompt": "at night", "size": "64x64", "images": [{"file_id": file.id}]}
    assert client.post("/images/edits", body=body, cast_to=ImagesResponse).data[0].b64_json
    assert [image.operation for image in server.images] == ["generate", "edit"]
    with pytest.raises(openai.NotFoundError, match="No such File object: file-none"):
        client.post("/images/edits", body={**body, "images": [{"file_id": "file-none"}]}, cast_to=ImagesResponse)


def test_a_batch_draws_what_single_requests_would(client, server):
    batch = ordered(client, line(1), line(2, "a cat"), metadata={"key": "value"})
    assert batch.metadata == {"key": "value"}
    raw = client.batches.with_raw_response.retrieve(batch.id).http_response.json()
    done = Batch.model_validate(raw, strict=True)
    assert (done.status, done.request_counts.completed, done.request_counts.total) == ("completed", 2, 2)
    assert done.error_file_id is None
    made = rows(client, done.output_file_id)
    assert list(made) != sorted(made), "nobody promised an order"
    assert set(made["line-1"]) == {"id", "custom_id", "response", "error"}
    assert (made["line-1"]["response"]["status_code"], made["line-1"]["error"]) == (200, None)
    answer = ImagesResponse.model_validate(made["line-1"]["response"]["body"])
    alone = client.images.generate(model="boats-1", prompt="a boat", size="64x64")
    assert base64.b64decode(answer.data[0].b64_json) == base64.b64decode(alone.data[0].b64_json)
    assert answer.usage == alone.usage
    assert [image.prompt for image in server.images] == ["a cat", "a boat", "a boat"]
    client.batches.retrieve(batch.id)
    assert len(server.images) == 3, "looking again makes nothing again"


def test_statuses_go_by_the_clock(client, server):
    server.latency = 3600
    batch = ordered(client, line(1))
    seen = [batch.status]
    for minutes in (4, 4, 30, 18, 6):
        server.advance(minutes * 60)
        seen.append(client.batches.retrieve(batch.id).status)
    assert seen == ["validating", "validating", "in_progress", "in_progress", "finalizing", "completed"]


def test_refused_lines_stand_in_a_file_of_their_own(client, server):
    batch = client.batches.retrieve(ordered(client, line(1), line(2, "forbidden"), line(3, "explode")).id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    assert set(rows(client, batch.output_file_id)) == {"line-1"}
    refused = rows(client, batch.error_file_id)
    assert refused["line-2"]["response"]["body"]["error"]["code"] == "moderation_blocked"
    assert refused["line-3"]["response"]["status_code"] == 500
    assert len(server.images) == 1


@pytest.mark.parametrize("how", ["expired", "cancelled"])
def test_an_end_before_its_time_answers_what_was_made(client, server, how):
    server.latency = 60
    batch = ordered(client, line(1), line(2), line(3))
    server.batches[0].stops_after = 2
    if how == "expired":
        server.batches[0].latency = 0
    else:
        assert client.batches.cancel(batch.id).status == "cancelling"
    ended = client.batches.retrieve(batch.id)
    assert ended.status == how
    assert set(rows(client, ended.output_file_id)) == {"line-1", "line-2"}
    left = rows(client, ended.error_file_id)["line-3"]
    assert (left["response"], left["error"]["code"]) == (None, f"batch_{how}")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"not json"], "invalid_json_line"),
        ([line(1), line(1)], "duplicate_custom_id"),
        ([line(1, url="/v1/responses")], "mismatched_endpoint"),
        ([line(1), line(2, body={"model": "other", "prompt": "a"})], "mismatched_model"),
        ([b""], "empty_file"),
    ],
)
def test_a_file_that_can_not_work_is_refused_after_it_was_taken(client, server, lines, code):
    batch = client.batches.retrieve(ordered(client, *lines).id)
    assert batch.status == "failed"
    assert code in [error.code for error in batch.errors.data]
    assert not server.images


def test_an_order_that_can_not_work_is_refused_at_once(client, server):
    file = uploaded(client, line(1))
    good = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"}
    for wrong in (
        {"input_file_id": "file-none"},
        {"endpoint": "/v1/responses"},
        {"completion_window": "1h"},
        {"metadata": {"key": "x" * 513}},
    ):
        with pytest.raises(openai.BadRequestError):
            client.batches.create(**{**good, **wrong})
    assert not server.batches


def test_the_list_is_newest_first_and_in_pages(client):
    made = [ordered(client, line(1)).id for _ in range(5)]
    page = client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:-3:-1]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]


def test_servers_of_other_kinds_have_no_batches():
    with Simulator(profile="vllm-omni") as simulator:
        headers = {"Authorization": "Bearer x"}
        assert httpx.get(f"{simulator.url}/batches", headers=headers).status_code == 404
