"""Removes secrets from a server's answers. Every text of a server passes through here before it is used.

A server may echo a key anywhere: in an error, a job, a header or an unknown field. From there it would reach
exceptions, logs, Prefect's database, results and the ledger. Nothing in this file does any input or output.
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
"""Values that this package sends where there is no key."""

SHORTEST = 6
"""Fewest characters of a secret: keys of self-hosted servers are often words such as "key", which texts contain."""

DEEPEST = 100
"""Deepest nesting of a JSON value. Honest answers have a tenth of it, and deeper ones exhaust the stack."""

LONGEST = 10_000
"""Most characters of a text in an answer; a longer one is cut."""

QUOTED = 300
"""Most characters of a provider's words in the message of an error."""

WHOLE = {"prompt", "revised_prompt", "url"}
"""Fields that are not cut: a prompt is compared with the request's, and a cut link does not work."""

UNTOUCHED = {"b64_json"}
"""Fields with content instead of text."""

IN_USE = 64
"""Most connections, the latest used ones, whose secrets are removed from logs."""

_SCHEME = re.compile(r"^(?:Bearer|Basic)\s+", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SURROGATES = re.compile("[\ud800-\udfff]")


class Cleaner:
    """Replaces secrets in texts and JSON values by `***`.

    Args:
        secrets: The secrets; their URL-quoted and base64 forms are replaced as well.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._forms = sorted((form.lower() for form in forms), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE)

    def text(self, text: str) -> str:
        """A text without secrets, and without halves of surrogate pairs, which can't be encoded."""
        if not text.isascii():
            text = _SURROGATES.sub("\ufffd", text)
        lowered = text.lower()
        for form in self._forms:
            if form in lowered:
                return self._pattern.sub(HIDDEN, text)
        return text

    def excerpt(self, text: str, most: int) -> str:
        """The beginning of a text without secrets; no part of a secret is left at its end."""
        if len(text) <= most:
            return self.text(text)
        longest = max(map(len, self._forms), default=0)
        cleaned = self.text(text[: most + longest])
        return f"{cleaned[: min(most, len(cleaned) - longest)]}..."

    def json(self, value: Any) -> Any:
        """A JSON value without secrets in its texts and names; long texts are cut.

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
    """A cleaner for the secrets in the headers of requests.

    Args:
        sent: The headers of each request; names in any case.
    """
    headers = [(name.lower(), text) for each in sent for name, text in each.items()]
    cleaner = _cleaner(tuple(sorted({_SCHEME.sub("", text) for name, text in headers if name in SECRET_HEADERS})))
    if cleaner not in _in_use:
        _in_use.append(cleaner)
    return cleaner


_in_use: deque[Cleaner] = deque(maxlen=IN_USE)


class _SecretFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = original = record.getMessage()
        for cleaner in tuple(_in_use):
            message = cleaner.text(message)
        if message != original:
            record.msg, record.args = message, None
        return True


_secret_filter = _SecretFilter()


def keep_secrets_out_of_logs(*loggers: str) -> None:
    """Remove the secrets in use from the messages of these loggers, which include status lines and headers of answers.

    Args:
        loggers: Names of the loggers; their children are not covered.
    """
    for name in loggers:
        logging.getLogger(name).addFilter(_secret_filter)


@lru_cache(maxsize=64)
def _cleaner(secrets: tuple[str, ...]) -> Cleaner:
    return Cleaner(each for each in secrets if len(each) >= SHORTEST and each not in PLACEHOLDERS)


def sentence(text: str, most: int = 1000) -> str:
    """A text for a message: on one line, without control characters, and cut where it is long."""
    text = _CONTROLS.sub(" ", text[: 2 * most]).strip()
    return text if len(text) <= most else f"{text[:most]}..."


def quote_provider(text: str | None) -> str:
    """What a provider says, shortened, for the end of an error's message; `provider_message` has it whole."""
    return f"; the provider says: {sentence(text, QUOTED)}" if text else ""


def _forms(secret: str) -> set[str]:
    """The forms in which a secret may be echoed: as it is, URL-quoted, and in base64 with any text around it."""
    forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    for before in range(3):
        text = b64encode(b"\0" * before + secret.encode()).decode()
        first, after = (0, 2, 3)[before], (before + len(secret.encode())) % 3
        inner = text[first : len(text) - (0, 3, 2)[after]]  # the characters that do not depend on the bytes around it
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= SHORTEST}
