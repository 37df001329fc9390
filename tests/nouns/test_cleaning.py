"""A secret that a server echoes is taken out of what it says, in whatever form it comes back."""

import base64
import json
import logging
from urllib.parse import quote

import pytest

from prefect_media.cleaning import DEEPEST, LONGEST, Cleaner, cleaner_of, sentence

KEY = "sk-key/that+nobody=must see"
CLEANER = Cleaner([KEY])


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        KEY.upper(),
        f"Bearer {KEY}",
        quote(KEY),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower(),
        *(
            base64.b64encode(b"x" * before + KEY.encode() + b"y" * after).decode()
            for before in range(4)
            for after in range(4)
        ),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
        base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    ],
)
def test_every_form_of_a_secret(echo):
    said = CLEANER.text(f"before {echo} after")
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert "***" in said
    for form in (KEY, quote(KEY), quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode()[:20]):
        assert form.lower() not in said.lower()


def test_a_secret_anywhere_in_a_json_value():
    body = {KEY: [KEY, {"a": f"x{KEY}y"}], "n": 1, "none": None, "b64_json": KEY}
    assert CLEANER.json(body) == {"***": ["***", {"a": "x***y"}], "n": 1, "none": None, "b64_json": KEY}
    escaped = json.loads(json.dumps(KEY).replace("s", "\\u0073"))
    assert CLEANER.json(escaped) == "***"


def test_what_can_not_be_written_or_walked():
    assert CLEANER.text("a\ud800b") == "a\ufffdb"
    deep = []
    for _ in range(DEEPEST + 1):
        deep = [deep]
    with pytest.raises(ValueError, match="levels deep"):
        CLEANER.json(deep)
    assert len(CLEANER.json("x" * 1_000_000)) == LONGEST + 3
    assert len(CLEANER.json({"prompt": "x" * 32_000})["prompt"]) == 32_000, "it is compared with the one that was sent"


def test_the_secrets_are_those_of_the_request():
    cleaner = cleaner_of({"Authorization": "Bearer sk-first"}, {"API-Key": "second-key", "Accept": "application/json"})
    assert cleaner.text("sk-first second-key application/json Bearer") == "*** *** application/json Bearer"


@pytest.mark.parametrize("word", ["", "key", "EMPTY", "no-key", "simulated"])
def test_a_word_in_place_of_a_key_is_no_secret(word):
    """It would blank out half of every message, and hide nothing."""
    assert cleaner_of({"Authorization": f"Bearer {word}"}).text(f"the {word} said") == f"the {word} said"


def test_a_sentence_steers_no_terminal_and_fills_no_log():
    assert sentence("a\x1b[31mb\r\n\tc\x9bd") == "a [31mb c d"
    assert len(sentence("x" * 10_000_000)) == 1003


def test_logs_of_the_http_libraries(caplog):
    from prefect_media.cleaning import keep_secrets_out_of_logs

    keep_secrets_out_of_logs("some.library")
    cleaner_of({"Authorization": "Bearer sk-a-key-in-a-log"})
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("some.library").debug("response headers %r", [(b"X-Echo", b"sk-a-key-in-a-log")])
        logging.getLogger("some.library").info('HTTP/1.1 200 "sk-a-key-in-a-log"')
    assert "sk-a-key" not in caplog.text
    assert "***" in caplog.text
