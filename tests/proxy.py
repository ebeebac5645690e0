"""A TCP proxy before Redis that can be slow, go silent, as a network does that was cut, and lose requests or their answers."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum


class Fate(Enum):
    """What becomes of a request."""

    PASS = "pass"
    LOST = "lost"
    """The connection breaks before the server has it."""
    UNANSWERED = "unanswered"
    """The server does it, and the connection breaks before its answer is through."""


class Proxy:
    """Forwards to a port of this machine. Ends with `close`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.is_silent = False
        self.delay_s = 0.0
        self.fate_of: Callable[[bytes], Fate] = lambda request: Fate.PASS
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def redis_url(self) -> str:
        """That of a Redis server without a password behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        """Take no more connections; those there are end."""
        self._is_closed = True
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            while not self._is_closed:
                ready, _, _ = select.select([client, server], [], [], 0.05)
                if self.is_silent:
                    continue  # what was sent stays where it is: nobody is told that the line is dead
                for source in ready:
                    data = source.recv(1 << 16)
                    if not data or not self._pass_on(data, source is client, client, server):
                        return

    def _pass_on(self, data: bytes, is_request: bool, client: socket.socket, server: socket.socket) -> bool:
        fate = self.fate_of(data) if is_request else Fate.PASS
        if fate is Fate.LOST:
            return False
        if self.delay_s and not is_request:
            time.sleep(self.delay_s)
        (server if is_request else client).sendall(data)
        if fate is Fate.UNANSWERED:
            server.recv(1 << 16)
            return False
        return True
