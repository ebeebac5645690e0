"""gunicorn's threaded worker, which lets go of connections: streams are written by `web.streams`, not by its threads."""

from concurrent.futures import Future
from typing import Any

from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn, ThreadWorker

from web.streams import MARK


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """A connection whose socket is closed or was taken away is nobody's when its request ends."""

    wsgi: Any

    def load_wsgi(self) -> None:
        """Load the application, and have it know whose connections it can take."""
        super().load_wsgi()
        application = self.wsgi

        def marked(environ: dict[str, Any], start_response: Any) -> Any:
            return application(environ | {MARK: True}, start_response)

        self.wsgi = marked

    def handle(self, conn: TConn) -> Any:
        """Answer a request, on a thread of the pool."""
        result = super().handle(conn)
        if result is False and _has_socket(conn):
            # Here, since it waits up to 2 s for the client: gunicorn does it in the thread that hands out all requests.
            conn.sock.setblocking(True)
            close_graceful(conn.sock)
        return result

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Take note of a request's end, on the main thread."""
        if _has_socket(conn):
            super().finish_request(conn, fs)
        else:
            self.nr_conns -= 1


def _has_socket(conn: TConn) -> bool:
    return bool(conn.sock.fileno() >= 0)
