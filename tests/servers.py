"""A real HTTP server on loopback that answers byte by byte what a test tells it to, well or badly."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.nodes import program


@dataclass
class Request:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[socket.socket, Request], None]


@dataclass
class Server:
    """Where it listens, what came, and how it answers: change `answer` at any time."""

    address: str
    port: int
    answer: Answer
    requests: list[Request] = field(default_factory=list)
    scheme: str = "http"

    def url(self, path: str = "/video.mp4", host: str = "") -> str:
        return f"{self.scheme}://{host or self.address}:{self.port}{path}"


def reply(body: bytes = b"", status: int = 200, **headers: str) -> Answer:
    """A sound answer; underscores in names stand for dashes."""

    def answer(conn: socket.socket, request: Request) -> None:
        conn.sendall(head(status, Content_Length=str(len(body)), **headers) + body)

    return answer


def head(status: int = 200, **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Whatever",
        "Connection: close",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def in_turn(*answers: Answer) -> Answer:
    """One after the other; the last one again and again."""
    left = list(answers)

    def answer(conn: socket.socket, request: Request) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(conn, request)

    return answer


def make_certificate(folder: Path, name: str = "clips.test") -> Path:
    """Key and certificate of a name, signed by itself, in one file."""
    key, own, both = (folder / f"{name}.pem" for name in ("key", "certificate", "both"))
    argv = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*argv, "-keyout", str(key), "-out", str(own)], check=True, capture_output=True)
    both.write_text(key.read_text() + own.read_text())
    return both


@contextlib.contextmanager
def serving(
    answer: Answer, *, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server for as long as the context lasts; connections close after one answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, port)))
        server = Server(address, listener.getsockname()[1], answer, scheme="https" if tls else "http")
        open_now: list[socket.socket] = []
        threads: list[threading.Thread] = []
        accepting = threading.Thread(target=_accept, args=(listener, server, tls, open_now, threads))
        accepting.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for conn in open_now:
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _accept(
    listener: socket.socket,
    server: Server,
    tls: ssl.SSLContext | None,
    open_now: list[socket.socket],
    threads: list[threading.Thread],
) -> None:
    with contextlib.suppress(OSError):
        while True:
            conn, _ = listener.accept()
            open_now.append(conn)
            threads.append(threading.Thread(target=_serve, args=(conn, server, tls)))
            threads[-1].start()


def _serve(conn: socket.socket, server: Server, tls: ssl.SSLContext | None) -> None:
    with conn, contextlib.suppress(OSError):
        stream = tls.wrap_socket(conn, server_side=True) if tls else conn
        with stream:
            request = _read(stream)
            if request:
                server.requests.append(request)
                server.answer(stream, request)


def _read(conn: socket.socket) -> Request | None:
    with conn.makefile("rb") as file:
        line = file.readline().decode().strip()
        headers: dict[str, str] = {}
        while text := file.readline().decode("latin-1").strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", 0)))
    return Request(line, headers, body) if line else None
