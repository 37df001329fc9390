"""The benchmark's provider and bucket, each in a process of its own."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class WrongResult(Exception):
    """An engine did not do what it was measured for."""


class Server:
    """One of ours, in a process of its own that ends with us."""

    def __init__(self, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise WrongResult(f"{script} did not start")
        self.url: str = json.loads(line)["url"]

    def stats(self, ca: Path | None) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=ca) if ca else None
        with urllib.request.urlopen(f"{self.url}/_stats", context=context, timeout=30) as answer:
            return json.load(answer)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")
