"""What can go wrong on the way, on order: the faults a test plants in front of the provider.

    simulator.faults.append(Fault("POST", "/videos$", "lose_reply"))

In the order of how early they strike:

refuse         close the connection; nothing is accepted
hold           wait `seconds`, then accept and answer, even if the client has gone meanwhile
answer         answer `status`, `body`, `headers`; nothing is accepted
lose_reply     accept, then close the connection without a word
hold_reply     accept, wait `seconds`, then answer
answer_after   accept, then answer `status`, `body`, `headers` (a gateway's 502, say)
corrupt        accept, then answer 200 with a page of HTML
truncate       announce the whole body, send `nbytes` of it, close the connection
drip           send the body `nbytes` at a time, `seconds` apart
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

Action = Literal["refuse", "hold", "answer", "lose_reply", "hold_reply", "answer_after", "corrupt", "truncate", "drip"]

HTML = "<!doctype html><title>Please sign in</title><h1>Please sign in</h1><p>Your session has expired.</p>"


@dataclass(eq=False)
class Fault:
    """One thing that goes wrong with the next request that fits.

    Attributes:
        method: HTTP method, or "*" for any.
        path_regex: Searched in the path and in the path with its query.
        action: What happens; see the top of this module.
        times: How many requests it strikes; None for all of them.
        seconds: How long to hold, or between two drips.
        status: HTTP status of "answer" and "answer_after".
        body: Their body: a dict becomes JSON, a str text, bytes stay; None is a plain server error.
        headers: Their further headers.
        nbytes: Bytes to send in "truncate" (all but one at most), bytes at a time in "drip".
        after_accept: Called once the request is accepted and before anything is answered, on a thread of its own.
        hits: How many requests it has struck so far.
    """

    method: str
    path_regex: str
    action: Action
    times: int | None = 1
    _: KW_ONLY
    seconds: float = 1.0
    status: int = 500
    body: Mapping[str, Any] | str | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    nbytes: int = 1024
    after_accept: Callable[[], object] | None = None
    hits: int = field(default=0, init=False)
    _struck: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        re.compile(self.path_regex)  # a bad expression fails where it is written, not in the server's thread

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has struck, with the request accepted where the action accepts.

        Args:
            timeout: Seconds to wait at most; None for ever.

        Returns:
            Whether it has.
        """
        return self._struck.wait(timeout)

    def fits(self, method: str, path: str) -> bool:
        """Whether it is to strike this request. `path` carries the query."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method not in ("*", method):
            return False
        return any(re.search(self.path_regex, place) for place in (path.partition("?")[0], path))

    @property
    def before_acceptance(self) -> bool:
        return self.action in ("refuse", "hold", "answer")

    def struck(self) -> None:
        """Wake those who wait for it."""
        self._struck.set()

    def content(self) -> tuple[str, bytes]:
        """Content type and body of the answer it puts in place of the real one."""
        if self.action == "corrupt":
            return "text/html; charset=utf-8", HTML.encode()
        match self.body:
            case None:
                error = {"message": "A simulated fault.", "type": "server_error", "param": None, "code": None}
                return "application/json", json.dumps({"error": error}).encode()
            case bytes():
                return "application/octet-stream", self.body
            case str():
                html = self.body.lstrip().startswith("<")
                return f"text/{'html' if html else 'plain'}; charset=utf-8", self.body.encode()
            case _:
                return "application/json", json.dumps(self.body).encode()
