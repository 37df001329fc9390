"""What a server says, without the secrets that were sent to it. Every text of a server passes here where it enters.

A server may echo a key anywhere: in an error, in a job, in a header, in a field that nobody knows. From there it would
reach exceptions, logs, Prefect's database, results and the ledger. Nothing in this file does any input or output.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, quote_plus

HIDDEN = "***"

SECRET_HEADERS = ("authorization", "api-key", "x-api-key", "proxy-authorization", "cookie")

PLACEHOLDERS = {"no-key", "simulated"}
"""What this package itself calls a key where there is none."""

SHORTEST = 6
"""Letters of a secret. Servers of one's own are often given a word such as "key", which any text may have in it."""

DEEPEST = 100
"""Levels of a JSON value. No honest answer has a tenth of it, and what is deeper breaks whoever walks it."""

LONGEST = 10_000
"""Characters of a text in an answer; what is longer is cut."""

WHOLE = {"prompt", "revised_prompt", "url"}
"""Texts that are not cut: a prompt is compared with the one that was sent, and half a link leads nowhere."""

UNTOUCHED = {"b64_json"}
"""Content, not text."""

IN_USE = 64
"""Connections whose secrets are kept out of the logs: the last ones used."""

_SCHEME = re.compile(r"^(?:Bearer|Basic)\s+", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SURROGATES = re.compile("[\ud800-\udfff]")


class Cleaner:
    """Takes secrets out of texts and JSON values.

    Args:
        secrets: What must not be shown; whatever else it comes as is known here.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._forms = sorted((form.lower() for form in forms), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE)

    def text(self, text: str) -> str:
        """A text without secrets, and without halves of characters, which can't be written anywhere."""
        if not text.isascii():
            text = _SURROGATES.sub("\ufffd", text)
        lowered = text.lower()
        for form in self._forms:
            if form in lowered:
                return self._pattern.sub(HIDDEN, text)
        return text

    def excerpt(self, text: str, most: int) -> str:
        """The beginning of a text without secrets; no half of one is left at its end."""
        if len(text) <= most:
            return self.text(text)
        longest = max(map(len, self._forms), default=0)
        cleaned = self.text(text[: most + longest])
        return f"{cleaned[: min(most, len(cleaned) - longest)]}..."

    def json(self, value: Any) -> Any:
        """A JSON value without secrets in its texts and names; texts that are too long are cut.

        Raises:
            ValueError: It is nested too deeply.
        """
        return self._json(value, 0, "")

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of an answer, their names in lower case."""
        return {name.lower(): self.text(text) for name, text in headers.items()}

    def _json(self, value: Any, depth: int, name: str) -> Any:
        if name in UNTOUCHED or not isinstance(value, str | dict | list):
            return value
        if isinstance(value, str):
            return self.text(value) if name in WHOLE else self.excerpt(value, LONGEST)
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        if isinstance(value, list):
            return [self._json(each, depth + 1, name) for each in cast(list[Any], value)]
        row = cast("dict[str, Any]", value)
        return {self.text(key): self._json(each, depth + 1, key) for key, each in row.items()}


def cleaner_of(*sent: Mapping[str, str]) -> Cleaner:
    """What takes the secrets of requests out of the answers to them.

    Args:
        sent: The headers of each request; names in any case.
    """
    found = [(name.lower(), text) for headers in sent for name, text in headers.items()]
    cleaner = _cleaner(tuple(sorted({_SCHEME.sub("", text) for name, text in found if name in SECRET_HEADERS})))
    if cleaner not in _in_use:
        _in_use.append(cleaner)
    return cleaner


_in_use: deque[Cleaner] = deque(maxlen=IN_USE)


class _Secretless(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = said = record.getMessage()
        for cleaner in tuple(_in_use):
            message = cleaner.text(message)
        if message != said:
            record.msg, record.args = message, None
        return True


_secretless = _Secretless()


def keep_secrets_out_of_logs(*loggers: str) -> None:
    """Take the secrets in use out of what these loggers say: of an answer, they log status lines and headers.

    Args:
        loggers: Names of the loggers themselves; those below them are not covered.
    """
    for name in loggers:
        logging.getLogger(name).addFilter(_secretless)


@lru_cache(maxsize=64)
def _cleaner(secrets: tuple[str, ...]) -> Cleaner:
    return Cleaner(each for each in secrets if len(each) >= SHORTEST and each not in PLACEHOLDERS)


def sentence(text: str, most: int = 1000) -> str:
    """A text as a message may quote it: on one line, nothing in it that steers a terminal, and not too long."""
    text = _CONTROLS.sub(" ", text[: 2 * most]).strip()
    return text if len(text) <= most else f"{text[:most]}..."


def _forms(secret: str) -> set[str]:
    """A secret in all the ways that it may come back: as it is, in a URL, in base64 with anything before and after."""
    forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    for before in range(3):
        text = b64encode(b"\0" * before + secret.encode()).decode()
        first, after = (0, 2, 3)[before], (before + len(secret.encode())) % 3
        inner = text[first : len(text) - (0, 3, 2)[after]]  # what the bytes beside it have no part in
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= SHORTEST}
