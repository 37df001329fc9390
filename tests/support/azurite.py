"""Azurite, Microsoft's own emulator of Azure's blob storage, on a free port."""

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from email.utils import formatdate
from pathlib import Path

VERSION = "3.35.0"
INSTALLED = Path(__file__).parents[2] / "build" / f"azurite-{VERSION}"

# The account of every Azurite, published by Microsoft in its documentation. It is no secret and opens nothing else.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Missing(Exception):
    """Azurite can't be had here; the message says why in one line."""


def install() -> Path:
    """Its script, installed by npm into the build folder when it is not there yet."""
    script = INSTALLED / "node_modules/azurite/dist/src/blob/main.js"
    if script.exists():
        return script
    if not shutil.which("npm") or not shutil.which("node"):
        raise Missing("Azurite needs node and npm, and there are none")
    part = INSTALLED.with_name(f"{INSTALLED.name}-{os.getpid()}")
    part.mkdir(parents=True)
    try:
        command = ["npm", "install", "--prefix", part, f"azurite@{VERSION}"]
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise Missing(f"npm can't install azurite@{VERSION}: {' '.join(done.stderr.split())[:300]}")
        if not script.exists():
            part.rename(INSTALLED)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return script


class Azurite:
    """The server, as a context manager.

    Attributes:
        url: Its address, with the account in it, as `endpoint_url` takes it.
    """

    def __init__(self, script: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self.script, self.folder = script, folder

    def __enter__(self) -> "Azurite":
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder)]
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            ["node", self.script, *where, "--silent", "--disableTelemetry"], stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def create(self, container: str) -> None:
        """Make an empty container; obstore has no verb for that."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = "PUT" + "\n" * 12 + named + f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        request = urllib.request.Request(f"{self.url}/{container}?restype=container", method="PUT", headers=headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            direct.open(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
