"""The API of a Prefect server, asked over HTTP alone by scripts that watch one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx


class Prefect:
    """The server's API, which answers 503 while its database is busy and nothing while it restarts."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)

    def send(self, method: str, path: str, **body: object) -> httpx.Response:
        """The answer, whatever its status; asked again for a minute at least while the server is busy or away."""
        for tries_left in range(120, -1, -1):
            try:
                answer = self._client.request(method, path, json=body or None)
                if answer.status_code < 500 or not tries_left:
                    return answer
            except httpx.TransportError:
                if not tries_left:
                    raise
            time.sleep(0.5)
        raise AssertionError

    def ask(self, method: str, path: str, **body: object) -> Any:
        """The answer as JSON, to a request that the server takes."""
        return self.send(method, path, **body).raise_for_status().json()

    def states(self, runs: Sequence[str]) -> Counter[str]:
        """How many of these flow runs are in which state."""
        rows = self.ask("POST", "/flow_runs/filter", flow_runs={"id": {"any_": list(runs)}}, limit=200)
        return Counter(row["state"]["name"] for row in rows)

    def history(self, run: str) -> list[dict[str, Any]]:
        """The states that a flow run went through."""
        return self.ask("GET", f"/flow_run_states/?flow_run_id={run}")
