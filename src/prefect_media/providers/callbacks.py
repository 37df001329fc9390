"""Calls by which a server says that a job is finished: who sent them is proved by a signature.

The calls of OpenAI, and those of servers of one's own, are signed as "Standard Webhooks" says
(https://www.standardwebhooks.com): the id of the call, its time and its body, by HMAC-SHA256 with a secret that both
sides have. OpenRouter signs the time and the body: openrouter.ai/docs/cookbook/video-generation.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol, cast

from ..runtime import clock

TOLERANCE = 300
"""Seconds by which the time of a call may be off."""

MOST_REMEMBERED = 10_000
"""Calls that are remembered, so that none is taken twice."""

LONGEST_ID = 512

KINDS = ("batch.", "video.")
"""Beginnings of the names of events that are about jobs."""

OPENROUTER_SIGNATURE = re.compile(r"t=([0-9]{1,12}),\s*v1=([0-9a-f]{64})")


class Refused(Exception):
    """A call that proves nothing; what is wrong with it is told to nobody."""


class Events(Protocol):
    """Tells real events of a provider from others."""

    def job_of_event(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The id of the batch or video that an event is about; None for an event about something else.

        Raises:
            Refused: It was not signed with the secret, is too old or too new, came before, or is no event.
        """
        ...

    def forget(self, headers: Mapping[str, str]) -> None:
        """Take a call again when it comes again, since nothing could be done about it."""
        ...


class Callbacks:
    """Tells real calls from others, and which job they are about. Each call counts once."""

    def __init__(self, secret: str) -> None:
        from openai import OpenAI

        self._secret = secret
        self._sdk = OpenAI(api_key="none is needed", webhook_secret=secret)
        self._memory = Memory()

    def job_of_event(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The id of the batch or video that an event of OpenAI is about; see `Events`."""
        return _job_of(self._verify(headers, body))

    def job_of_call(self, job_id: str, headers: Mapping[str, str], body: bytes) -> str:
        """The id of the job that a server of one's own reports as finished; its body says it too, and is signed.

        Raises:
            Refused: It was not signed with the secret, is too old or too new, came before, or is about another job.
        """
        if _plain_id(self._verify(headers, body).get("id")) != job_id:
            raise Refused
        return job_id

    def forget(self, headers: Mapping[str, str]) -> None:
        """Take a call again when it comes again; see `Events`."""
        self._memory.forget(headers.get("webhook-id", ""))

    def _verify(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        from openai import InvalidWebhookSignatureError

        call = headers.get("webhook-id", "")
        if not 0 < len(call) <= LONGEST_ID:
            raise Refused
        try:
            self._sdk.webhooks.verify_signature(body, dict(headers), secret=self._secret, tolerance=TOLERANCE)
            event: Any = json.loads(body)
        except (InvalidWebhookSignatureError, ValueError, TypeError, RecursionError) as error:
            raise Refused from error
        if not isinstance(event, dict) or not self._memory.is_new(call):
            raise Refused
        return cast(dict[str, Any], event)


class OpenRouterCallbacks:
    """Tells real calls of OpenRouter from others. Each call counts once."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._memory = Memory()

    def job_of_event(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The id of the video that an event is about; see `Events`."""
        match = OPENROUTER_SIGNATURE.fullmatch(headers.get("x-openrouter-signature", ""))
        if not match or abs(clock.now().timestamp() - int(match[1])) > TOLERANCE:
            raise Refused
        expected = hmac.new(self._secret, f"{match[1]},".encode() + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, match[2]):
            raise Refused
        try:
            event: Any = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused from error
        # The idempotency key is not part of what is signed, so the signature tells one call from another.
        if not isinstance(event, dict) or not self._memory.is_new(match[2]):
            raise Refused
        return _job_of(cast(dict[str, Any], event))

    def forget(self, headers: Mapping[str, str]) -> None:
        """Take a call again when it comes again; see `Events`."""
        if match := OPENROUTER_SIGNATURE.fullmatch(headers.get("x-openrouter-signature", "")):
            self._memory.forget(match[2])


class Memory:
    """The calls that came lately."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, call: str) -> bool:
        """Whether a call did not come before; it is remembered."""
        now = clock.monotonic()
        # A call may be as much too new as too old, so it could come again for twice as long. The first is the oldest.
        while self._seen and (
            len(self._seen) >= MOST_REMEMBERED or next(iter(self._seen.values())) < now - 2 * TOLERANCE
        ):
            self._seen.pop(next(iter(self._seen)))
        if call in self._seen:
            return False
        self._seen[call] = now
        return True

    def forget(self, call: str) -> None:
        """Take a call for new again."""
        self._seen.pop(call, None)


def _job_of(event: dict[str, Any]) -> str | None:
    data: Any = event.get("data")
    about = cast(dict[str, Any], data).get("id") if isinstance(data, dict) else None
    return _plain_id(about) if str(event.get("type")).startswith(KINDS) else None


def _plain_id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not value.isprintable():
        raise Refused
    return value
