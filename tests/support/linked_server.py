"""A gateway before a simulator that answers what a test wants, and strangers on other addresses that note who asks."""

import io
import json
import re
import socket
import threading

from faulty_server import Raw, forward, head, reply
from PIL import Image


def png(colour="teal"):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


def answer(status=200, body=b"", **headers):
    """A whole answer; a dict goes as JSON."""
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    return head(status, Content_Length=len(body), **headers) + body


class Gateway(Raw):
    """Hands everything on to a simulator but what `answers` says otherwise.

    Attributes:
        answers: By "METHOD pattern": raw bytes, or what gives the pieces of them for a request. None hands it on.
        alter: Gets a request and the JSON that is handed back for it, and may change that.
        asked: All requests.
    """

    def __init__(self, simulator):
        self.root = simulator.url.removesuffix("/v1")
        self.answers, self.asked = {}, []
        self.alter = lambda asked, body: None
        super().__init__()

    def serve(self, line, asked):
        self.asked.append(asked)
        body = asked.file.read(asked.length)
        for pattern, given in self.answers.items():
            if not re.fullmatch(pattern, f"{asked.method} {asked.path.partition('?')[0]}"):
                continue
            pieces = given(asked) if callable(given) else given
            if pieces is None:
                break
            for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                line.sendall(piece)
            return False
        behind, data = forward(asked, self.root, body)
        if "json" in behind.getheader("content-type", ""):
            fields = json.loads(data)
            self.alter(asked, fields)
            data = json.dumps(fields).encode()
        reply(line, asked, behind.status, data, behind.getheaders())
        return True

    def at(self, path):
        """The requests whose path ends so."""
        return [asked for asked in self.asked if asked.path.partition("?")[0].endswith(path)]


class Stranger(Raw):
    """Somebody at another address of this machine.

    Attributes:
        lines: How many connections were made to it.
        asked: All requests.
    """

    def __init__(self, given=b"", host="127.0.0.2", context=None):
        self.given, self.context, self.lines, self.asked = given, context, 0, []
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _talk(self, line):
        self.lines += 1
        try:
            super()._talk(self.context.wrap_socket(line, server_side=True) if self.context else line)
        except OSError:
            line.close()

    def serve(self, line, asked):
        self.asked.append(asked)
        given = self.given(asked) if callable(self.given) else self.given
        for piece in [given] if isinstance(given, bytes) else given:
            line.sendall(piece)
        return False
