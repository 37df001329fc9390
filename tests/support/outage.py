"""A door in front of a server, to be shut and opened: to see what a process does when its server goes away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Door:
    """Passes connections on to a port of this machine while it is open; `port` is its own.

    Args:
        server: The port of the server.
    """

    def __init__(self, server: int) -> None:
        self._server, self._silent, self.port = server, False, 0
        self._open: set[socket.socket] = set()
        self.open()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        """Take connections, on the same port as ever."""
        self._door = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._door,), daemon=True).start()

    def shut(self) -> None:
        """Be gone: connections break, and new ones are refused."""
        for each in [self._door, *list(self._open)]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def fall_silent(self) -> None:
        """Take connections, and answer nothing."""
        self._silent = True

    def _accept(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                guest, _ = door.accept()
                self._open.add(guest)
                if not self._silent:
                    threading.Thread(target=self._connect, args=(guest,), daemon=True).start()

    def _connect(self, guest: socket.socket) -> None:
        with suppress(OSError), guest, socket.create_connection(("127.0.0.1", self._server)) as host:
            self._open.add(host)
            back = threading.Thread(target=self._pass, args=(host, guest), daemon=True)
            back.start()
            self._pass(guest, host)
            back.join()
            self._open.discard(host)
        self._open.discard(guest)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._silent:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
