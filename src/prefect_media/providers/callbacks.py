"""Calls by which a server says that a job is finished: who sent them is proved by a signature.

All are signed as "Standard Webhooks" (https://www.standardwebhooks.com) says, which is what OpenAI does: the id of the
call, its time and its body, by HMAC-SHA256 with a secret that both sides have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from ..runtime import clock

TOLERANCE = 300
"""Seconds by which the time of a call may be off."""

MOST_REMEMBERED = 10_000
"""Calls that are remembered, so that none is taken twice."""

LONGEST_ID = 512

KINDS = ("batch.", "video.")
"""Beginnings of the names of OpenAI's events that are about jobs."""


class Refused(Exception):
    """A call that proves nothing; what is wrong with it is told to nobody."""


class Callbacks:
    """Tells real calls from others, and which job they are about. Each call counts once."""

    def __init__(self, secret: str) -> None:
        from openai import OpenAI

        self._secret = secret
        self._sdk = OpenAI(api_key="none is needed", webhook_secret=secret)
        self._seen: dict[str, float] = {}

    def job_of_event(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The id of the batch or video that an event of OpenAI is about; None for an event about something else.

        Raises:
            Refused: It was not signed with the secret, is too old or too new, came before, or is no event.
        """
        event = self._verified(headers, body)
        data: Any = event.get("data")
        about = cast(dict[str, Any], data).get("id") if isinstance(data, dict) else None
        if not str(event.get("type")).startswith(KINDS):
            return None
        return _plain_id(about)

    def job_of_call(self, job_id: str, headers: Mapping[str, str], body: bytes) -> str:
        """The id of the job that a server of one's own reports as finished; its body says it too, and is signed.

        Raises:
            Refused: It was not signed with the secret, is too old or too new, came before, or is about another job.
        """
        if _plain_id(self._verified(headers, body).get("id")) != job_id:
            raise Refused
        return job_id

    def forget(self, headers: Mapping[str, str]) -> None:
        """Take a call again when it comes again, since nothing could be done about it."""
        self._seen.pop(headers.get("webhook-id", ""), None)

    def _verified(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        from openai import InvalidWebhookSignatureError

        call = headers.get("webhook-id", "")
        if not 0 < len(call) <= LONGEST_ID:
            raise Refused
        try:
            self._sdk.webhooks.verify_signature(body, dict(headers), secret=self._secret, tolerance=TOLERANCE)
            event: Any = json.loads(body)
        except (InvalidWebhookSignatureError, ValueError, TypeError, RecursionError) as error:
            raise Refused from error
        if not isinstance(event, dict) or not self._is_new(call):
            raise Refused
        return cast(dict[str, Any], event)

    def _is_new(self, call: str) -> bool:
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


def _plain_id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not value.isprintable():
        raise Refused
    return value
