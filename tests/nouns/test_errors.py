"""The tree of errors: drawn as it is, picklable, and reached from every answer a provider gives."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import prefect_media
from prefect_media import errors
from prefect_media.errors import MediaError
from prefect_media.jobs import JobState
from prefect_media.ledger.record import error_of, failure_of
from prefect_media.providers import videos, wire
from prefect_media.simulator import Fault, Simulator
from prefect_media.waiting.deadlines import failure_error

ROOT = Path(__file__).parents[2]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MediaError)]
NAMES = {kind.__name__ for kind in KINDS}
PAGE = (ROOT / "docs" / "errors.md").read_text()


def test_every_error_is_exported_and_known_to_type_checkers():
    """`from prefect_media import NotFound`: `__all__`, the stubs under TYPE_CHECKING and errors.py agree."""
    assert set(prefect_media.__all__) >= NAMES
    assert all(getattr(prefect_media, kind.__name__) is kind for kind in KINDS)
    tree = ast.parse((ROOT / "src" / "prefect_media" / "__init__.py").read_text())
    stubs = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "errors"
        for alias in node.names
    }
    assert stubs == NAMES


def test_every_error_can_be_named_by_a_record():
    assert {**errors.ERRORS, "MediaError": MediaError} == {kind.__name__: kind for kind in KINDS}


def test_an_expired_job_is_caught_as_failed_and_as_not_found():
    assert issubclass(errors.JobExpired, errors.JobFailed) and issubclass(errors.JobExpired, errors.NotFound)
    assert not issubclass(errors.NotFound, errors.JobFailed), "a server without a list has failed no job"


def test_the_page_draws_the_tree_of_the_module():
    def tree(text):
        return [re.sub(r"  .*", "", line) for line in text.splitlines() if re.match(r"[│├└]|MediaError", line)]

    assert tree(PAGE.partition("```\n")[2].partition("```")[0]) == [
        re.sub(r" +↻$", "", line) for line in tree(errors.__doc__)
    ]


def test_the_page_has_a_row_for_every_error():
    """With its own attributes (those that every error has stand in a table of their own), and whether it is retried."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in PAGE.splitlines()
        if line.startswith("| ")
    ]
    shared = {row[0].strip("`") for row in rows if len(row) == 3} - {"attribute", "---"}
    assert shared == {*MediaError.__annotations__, "message", "details", "transient"}
    classes = {row[0].strip("`"): row for row in rows if len(row) == 5 and row[0].startswith("`")}
    assert set(classes) == NAMES
    for kind in KINDS:
        _, when, retried, attributes, remedy = classes[kind.__name__]
        own = {name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})}
        assert set(re.findall(r"`(\w+)`", attributes)) == own - set(MediaError.__annotations__), kind
        assert retried == ("yes" if kind.transient else "no"), kind
        assert when and remedy


def test_the_example_of_the_page_catches_each_error(prefect, tmp_path, capsys):
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names = {}
    exec(compile(code, "errors.md", "exec"), names)
    with Simulator(latency=0.05, profile="new-api") as server:
        assert names["make_video"](server.credentials, tmp_path, "a paper boat").kind == "video"
        assert names["make_video"](server.credentials, tmp_path, "forbidden: a boat") is None
        server.faults.append(Fault("POST", "/videos$", "lose_reply"))
        assert names["make_video"](server.credentials, tmp_path, "a lost boat") is None
        server.faults[:] = [Fault("POST", "/videos$", "answer", status=400, body={"detail": "no boats today"})]
        assert names["make_video"](server.credentials, tmp_path, "a refused boat") is None
    moderation, doubt, refusal = capsys.readouterr().out.splitlines()
    assert moderation.startswith("moderation refused 'forbidden: a boat': ")
    assert re.fullmatch("purchase [0-9a-f]{64} may have been paid; candidates: none", doubt)
    assert refusal.startswith("InvalidRequest: ") and "no boats today" in refusal


def test_the_drawing_shows_every_error_where_it_belongs():
    drawn = {}
    stack = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"([│ ]*)(?:├── |└── )?([A-Z]\w+)(?: +(↻))?", line):
            depth = len(match[1]) // 4 + ("──" in line)
            if match[2] not in vars(errors):
                continue
            del stack[depth:]
            drawn[match[2]] = (stack[-1] if stack else "Exception", bool(match[3]))
            stack.append(match[2])
    assert drawn == {kind.__name__: (kind.__base__.__name__, kind.transient) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling_with_everything_they_know(kind):
    error = kind("no", job_id="video_1", request_id="req_1", status_code=400, code="x", transient=False)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.details, again.job_id, again.transient) == ("no", error.details, "video_1", False)


OPENAI = {"error": {"message": "said so", "type": "t", "param": None, "code": "c"}}
MODERATION = {
    "error": {
        "message": "Your request was rejected. safety_violations=[violence, self-harm].",
        "type": "image_generation_user_error",
        "code": "moderation_blocked",
        "moderation_details": {"moderation_stage": "input", "categories": ["violence"]},
    }
}
NO_DETAILS = {"error": {"message": "No. safety_violations=[violence,sexual].", "code": "moderation_blocked"}}
AZURE = {"error": {"code": "contentFilter", "message": "The response was filtered."}}
AZURE_INNER = {
    "error": {
        "code": "content_policy_violation",
        "message": "Your prompt was filtered.",
        "inner_error": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True}, "hate": {"filtered": False}},
        },
    }
}
QUOTA = {"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}}

ANSWERS = [
    # status, body, headers -> error when it was paid for, error when it was only a look, part of the message
    (400, OPENAI, {}, errors.InvalidRequest, errors.InvalidRequest, "said so"),
    (400, MODERATION, {}, errors.ContentRejected, errors.ContentRejected, "rejected"),
    (400, NO_DETAILS, {}, errors.ContentRejected, errors.ContentRejected, "rejected"),
    (400, AZURE, {}, errors.ContentRejected, errors.ContentRejected, "filtered"),
    (401, OPENAI, {}, errors.AuthenticationFailed, errors.AuthenticationFailed, "check the key"),
    (403, OPENAI, {}, errors.AuthenticationFailed, errors.AuthenticationFailed, "check the key"),
    (404, {"detail": "Not Found"}, {}, errors.InvalidRequest, errors.NotFound, "Not Found"),
    (410, OPENAI, {}, errors.ModelRetired, errors.ModelRetired, "no longer serves"),
    (422, {"detail": [{"loc": ["body", "prompt"], "msg": "missing"}]}, {}, errors.InvalidRequest, None, "missing"),
    (429, OPENAI, {"retry-after": "900"}, errors.RateLimited, None, "no more requests"),
    (429, QUOTA, {"x-should-retry": "false"}, errors.QuotaExceeded, errors.QuotaExceeded, "no quota left"),
    (500, OPENAI, {}, errors.SubmissionInDoubt, None, "failed while taking a paid request"),
    (502, "<html><h1>Bad   gateway</h1></html>", {}, errors.SubmissionInDoubt, None, "Bad gateway"),
    (503, "", {"retry-after": "900"}, errors.ProviderUnavailable, None, "overloaded"),
    (503, "", {}, errors.SubmissionInDoubt, None, "503"),
    (504, OPENAI, {}, errors.SubmissionInDoubt, None, "said so"),
    (200, OPENAI, {}, errors.SubmissionInDoubt, errors.ProviderUnavailable, "said so"),
    (200, MODERATION, {}, errors.ContentRejected, errors.ContentRejected, "rejected"),
    (400, AZURE_INNER, {}, errors.ContentRejected, None, "filtered"),
    (200, "<html>Sign in</html>", {}, errors.SubmissionInDoubt, errors.ProviderUnavailable, "text/html"),
]


@pytest.mark.parametrize(("status", "body", "headers", "when_paid", "when_looked", "said"), ANSWERS)
async def test_what_an_answer_means(media_simulator, status, body, headers, when_paid, when_looked, said):
    connection = media_simulator.credentials.connection()
    fault = Fault("*", "/videos", "answer", times=None, status=status, body=body, headers=headers)
    media_simulator.faults.append(fault)
    with pytest.raises(MediaError) as caught:
        await wire.ask(connection, "post", connection.url("/videos"), form={"prompt": "x"}, paid=True)
    assert type(caught.value) is when_paid
    assert said in str(caught.value)
    assert caught.value.status_code == status
    assert fault.hits == 1, "a paid request is sent once, whatever the answer"
    if when_looked:
        with pytest.raises(MediaError) as caught:
            await videos.look(connection, "video_1")
        assert type(caught.value) is when_looked
    assert not media_simulator.jobs


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_what_to_do_comes_first_and_the_providers_words_last_and_shortened(media_simulator, status, paid):
    """A provider that talks much hides nothing, and what it says is kept whole for programs."""
    talk = "out of memory; CUDA " * 100
    connection = media_simulator.credentials.connection()
    body = {"error": {"message": talk}}
    headers = {"retry-after": "900"}
    media_simulator.faults.append(Fault("*", "/videos", "answer", status=status, body=body, headers=headers))
    with pytest.raises(MediaError) as caught:
        await (
            wire.ask(connection, "post", connection.url("/videos"), form={}, paid=True)
            if paid
            else videos.look(connection, "video_1")
        )
    error = pickle.loads(pickle.dumps(caught.value))
    what, _, words = str(error).partition("; the provider says: ")
    assert words == talk[:300] + "..." and error.provider_message == talk.strip()
    assert what.count(";") >= (status != 500 or not paid), "it says what to do, or what it is certain of"
    assert f"(HTTP {status}" in what


async def test_a_failed_job_keeps_what_the_provider_says_of_it():
    state = JobState("video_1", "failed", error_message="no GPU; " * 100, cost_usd=0.4)
    error = failure_error("video_1", state)
    assert str(error).startswith("job video_1 failed (billed 0.4 USD); pass retry_failed=True to buy it again; ")
    assert len(str(error)) < 420 and error.provider_message == "no GPU; " * 100
    again = error_of(failure_of(error))
    assert (type(again), str(again), again.provider_message) == (type(error), str(error), error.provider_message)


async def test_moderation_says_what_it_objected_to(media_simulator):
    connection = media_simulator.credentials.connection()
    for body, stage, categories in (
        (MODERATION, "input", ("violence",)),
        (NO_DETAILS, None, ("violence", "sexual")),
        (AZURE_INNER, None, ("violence",)),
    ):
        media_simulator.faults.append(Fault("POST", "/videos", "answer", status=400, body=body))
        with pytest.raises(errors.ContentRejected) as caught:
            await wire.ask(connection, "post", connection.url("/videos"), form={"prompt": "x"}, paid=True)
        assert (caught.value.stage, caught.value.categories) == (stage, categories)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "900"}, 900),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read_in_all_its_forms(media_simulator, headers, seconds):
    connection = media_simulator.credentials.connection()
    media_simulator.faults.append(Fault("POST", "/videos", "answer", status=429, body=OPENAI, headers=headers))
    with pytest.raises(errors.RateLimited) as caught:
        await wire.ask(connection, "post", connection.url("/videos"), form={"prompt": "x"}, paid=True)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("where", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"])
async def test_a_server_that_is_not_there_has_certainly_taken_nothing(where):
    from prefect_media import OpenAICredentials

    connection = OpenAICredentials(base_url=where).connection()
    with pytest.raises(errors.ProviderUnavailable, match="nothing was bought"):
        await wire.ask(connection, "post", connection.url("/videos"), form={"prompt": "x"}, paid=True)


@pytest.mark.parametrize("action", ["refuse", "lose_reply"])
async def test_a_connection_that_breaks_leaves_a_doubt(media_simulator, action):
    connection = media_simulator.credentials.connection()
    media_simulator.faults.append(Fault("POST", "/videos", action))
    with pytest.raises(errors.SubmissionInDoubt):
        await wire.ask(
            connection, "post", connection.url("/videos"), form={"prompt": "x", "model": "sora-2"}, paid=True
        )
    assert len(media_simulator.jobs) == (action == "lose_reply")
