"""A door in front of a server that can be shut: to see what a process does when its server goes away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Door:
    """Passes connections on to a port of this machine until it is shut; `port` is its own.

    Args:
        server: The port of the server.
    """

    def __init__(self, server: int) -> None:
        self._server, self._silent = server, False
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def shut(self) -> None:
        """Be gone: connections break, and new ones are refused."""
        for each in [self._door, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def fall_silent(self) -> None:
        """Take connections, and answer nothing."""
        self._silent = True

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                guest, _ = self._door.accept()
                self._open.append(guest)
                if not self._silent:
                    host = socket.create_connection(("127.0.0.1", self._server))
                    self._open.append(host)
                    threading.Thread(target=self._pass, args=(guest, host), daemon=True).start()
                    threading.Thread(target=self._pass, args=(host, guest), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._silent:
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
