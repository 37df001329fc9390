"""Every fault, as a client meets it: what it sees, and what was bought."""

import re
import threading
import time

import httpx
import openai
import pytest

from prefect_media.simulator import Fault, Simulator

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture
def server():
    with Simulator(latency=0) as simulator:
        yield simulator


@pytest.fixture
def client(server):
    return openai.OpenAI(api_key="any", base_url=server.url, max_retries=0)


def buy(client: openai.OpenAI, **options):
    return client.videos.create(prompt="a boat", model="open", size="64x64", seconds="1", **options)


def plant(server: Simulator, *arguments, **options) -> Fault:
    fault = Fault(*arguments, **options)
    server.faults.append(fault)
    return fault


def test_refuse_cuts_the_line_before_anything_is_accepted(server, client):
    fault = plant(server, "POST", "/videos$", "refuse")
    with pytest.raises(openai.APIConnectionError) as caught:
        buy(client)
    assert "disconnected" in str(caught.value.__cause__) or "reset" in str(caught.value.__cause__)
    assert (server.jobs, fault.hits, server.requests[0].status) == ([], 1, None)
    buy(client)
    assert (len(server.jobs), fault.hits) == (1, 1)


def test_lose_reply_accepts_and_cuts_the_line(server, client):
    fault = plant(server, "POST", "/videos$", "lose_reply")
    with pytest.raises(openai.APIConnectionError):
        buy(client)
    assert (len(server.jobs), fault.hits, server.requests[0].status) == (1, 1, None)
    assert [job.id for job in client.videos.list()] == [server.jobs[0].id]


def test_lose_reply_loses_an_image_too(server, client):
    plant(server, "POST", "images/generations", "lose_reply")
    with pytest.raises(openai.APIConnectionError):
        client.images.generate(model="gpt-image-2", prompt="a hill", size="256x256")
    assert len(server.images) == 1


def test_hold_reply_accepts_and_answers_late(server, client):
    plant(server, "POST", "/videos$", "hold_reply", seconds=0.3)
    started = time.monotonic()
    job = buy(client)
    assert time.monotonic() - started >= 0.3
    assert [job.id] == [each.id for each in server.jobs]


def test_hold_reply_outlasts_an_impatient_client_who_has_bought(server, client):
    fault = plant(server, "POST", "/videos$", "hold_reply", seconds=30)
    with pytest.raises(openai.APITimeoutError):
        buy(client, timeout=0.3)
    assert fault.wait(0) and len(server.jobs) == 1


def test_hold_waits_before_it_accepts_even_if_the_client_has_gone(server, client):
    fault = plant(server, "POST", "/videos$", "hold", seconds=0.6)
    with pytest.raises(openai.APITimeoutError):
        buy(client, timeout=0.2)
    assert fault.hits == 1 and server.jobs == []
    deadline = time.monotonic() + 5
    while not server.jobs and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, "application/json"),
        ("<html>busy</html>", "text/html; charset=utf-8"),
        ("busy", "text/plain; charset=utf-8"),
        (b"\x00\xff", "application/octet-stream"),
    ],
)
def test_answer_says_anything_and_accepts_nothing(server, client, body, kind):
    plant(server, "POST", "/videos$", "answer", status=429, body=body, headers={"Retry-After": "7"})
    with pytest.raises(openai.RateLimitError) as caught:
        buy(client)
    answer = caught.value.response
    assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("7", kind)
    assert caught.value.request_id
    if isinstance(body, dict):
        assert answer.json() == body and caught.value.code == "rate_limit_exceeded"
    else:
        assert answer.content == (body.encode() if isinstance(body, str) else body)
    assert (server.jobs, server.requests[0].status) == ([], 429)


def test_answer_after_is_a_gateway_that_failed_once_the_job_was_bought(server, client):
    plant(server, "POST", "/videos$", "answer_after", status=502, body="<h1>Bad gateway</h1>")
    with pytest.raises(openai.InternalServerError) as caught:
        buy(client)
    assert caught.value.status_code == 502
    assert len(server.jobs) == 1


def test_an_answer_without_a_body_is_a_plain_server_error(server, client):
    plant(server, "*", "/videos", "answer")
    with pytest.raises(openai.InternalServerError) as caught:
        client.videos.list()
    assert (caught.value.status_code, caught.value.type) == (500, "server_error")


def test_truncate_announces_all_and_sends_a_part(server, client):
    job = buy(client)
    whole = client.videos.download_content(job.id).content
    for nbytes, received in ((1000, 1000), (10**9, len(whole) - 1), (0, 0)):
        plant(server, "GET", "/content", "truncate", nbytes=nbytes)
        got = bytearray()
        with (
            pytest.raises(httpx.RemoteProtocolError, match="closed"),
            httpx.stream(
                "GET", f"{server.url}/videos/{job.id}/content", headers={"Authorization": "Bearer k"}
            ) as answer,
        ):
            assert answer.headers["content-length"] == str(len(whole))
            for chunk in answer.iter_raw():
                got += chunk
        assert got == whole[:received]


def test_drip_sends_all_of_it_slowly(server, client):
    job = buy(client)
    whole = client.videos.download_content(job.id).content
    plant(server, "GET", "/content", "drip", nbytes=len(whole) // 4 + 1, seconds=0.1)
    started = time.monotonic()
    assert client.videos.download_content(job.id).content == whole
    assert time.monotonic() - started >= 0.3  # three gaps between four drips


def test_corrupt_is_a_page_where_the_content_should_be(server, client):
    job = buy(client)
    plant(server, "GET", "/content", "corrupt")
    answer = client.videos.download_content(job.id)
    assert answer.response.status_code == 200
    assert answer.response.headers["content-type"].startswith("text/html")
    assert answer.content.startswith(b"<!doctype html>")
    assert client.videos.download_content(job.id).response.headers["content-type"] == "video/mp4"


def test_faults_are_consumed_in_order_and_counted(server, client):
    first = plant(server, "POST", "/videos$", "answer", 2, status=500)
    second = plant(server, "POST", "/videos$", "answer", status=503)
    always = plant(server, "GET", "/models$", "answer", None, status=418)
    seen = []
    for _ in range(3):
        with pytest.raises(openai.InternalServerError) as caught:
            buy(client)
        seen.append(caught.value.status_code)
    assert (seen, first.hits, second.hits) == ([500, 500, 503], 2, 1)
    buy(client)
    for _ in range(3):
        with pytest.raises(openai.APIStatusError):
            client.models.list()
    assert always.hits == 3


def test_a_fault_strikes_only_its_method_and_path(server, client):
    fault = plant(server, "POST", r"/videos/[^/]+/remix", "refuse")
    query = plant(server, "GET", r"variant=thumbnail", "corrupt")
    job = buy(client)
    client.videos.retrieve(job.id)
    client.videos.download_content(job.id)
    assert (fault.hits, query.hits) == (0, 0)
    client.videos.download_content(job.id, variant="thumbnail")
    with pytest.raises(openai.APIConnectionError):
        client.videos.remix(job.id, prompt="x")
    assert (fault.hits, query.hits) == (1, 1)


def test_a_test_can_act_between_acceptance_and_answer(server, client):
    """The moment in which a worker is killed: the job exists, the reply has not left."""
    moments: list[tuple[int, bool]] = []
    fault = Fault(
        *("POST", "/videos$", "hold_reply"),
        seconds=0,
        after_accept=lambda: moments.append((len(server.jobs), bool(answered))),
    )
    server.faults.append(fault)
    answered: list[object] = []
    answered.append(buy(client))
    assert moments == [(1, False)]


def test_waiting_for_a_fault_ends_when_the_job_is_accepted(server, client):
    fault = plant(server, "POST", "/videos$", "hold_reply", seconds=30)
    assert not fault.wait(0.01)

    def impatient():
        with pytest.raises(openai.APITimeoutError):
            buy(client, timeout=1)

    buyer = threading.Thread(target=impatient)
    buyer.start()
    assert fault.wait(5)
    assert len(server.jobs) == 1 and buyer.is_alive()
    buyer.join()


def test_other_requests_are_served_while_one_is_held(server, client):
    fault = plant(server, "POST", "/videos$", "hold", seconds=30)

    def impatient():
        with pytest.raises(openai.APITimeoutError):
            buy(client, timeout=1)

    buyer = threading.Thread(target=impatient)
    buyer.start()
    assert fault.wait(5)
    started = time.monotonic()
    client.models.list()
    assert time.monotonic() - started < 0.5 and buyer.is_alive()
    buyer.join()


def test_stopping_cuts_what_is_held_and_says_nothing_in_the_log(caplog):
    with Simulator() as server:
        fault = plant(server, "POST", "/videos$", "hold_reply", seconds=60)
        client = openai.OpenAI(api_key="any", base_url=server.url, max_retries=0)
        caught: list[BaseException] = []

        def buyer():
            try:
                buy(client)
            except openai.APIConnectionError as error:
                caught.append(error)

        thread = threading.Thread(target=buyer)
        thread.start()
        assert fault.wait(5)
        started = time.monotonic()
    assert time.monotonic() - started < 1
    thread.join(5)
    assert len(caught) == 1
    assert not [record for record in caplog.records if record.name.startswith(("uvicorn", "prefect_media"))]


def test_a_fault_with_a_bad_expression_fails_where_it_is_written():
    with pytest.raises(re.error, match="unterminated subpattern"):
        Fault("POST", "(", "refuse")
