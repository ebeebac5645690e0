"""After a refusal the rest of the body is read and thrown away, up to a bound.

A client that is still sending would else find its connection reset, and never see the answer.
"""

from time import monotonic
from typing import IO

from flask import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

BLOCK_BYTES = 256 * 1024
MAX_BYTES = 512 << 20
MAX_S = 10.0


def drain_after_refusal(response: Response) -> Response:
    """Arrange that what the client still sends is read once the refusal is out."""
    if request.method in ("POST", "PUT", "PATCH") and response.status_code >= 400:
        try:
            body = request.stream
        except RequestEntityTooLarge:  # nothing was read of it
            body = get_input_stream(request.environ)
        response.call_on_close(lambda: _drain(body))
        response.headers["Connection"] = "close"
    return response


def _drain(body: IO[bytes]) -> None:
    end_s = monotonic() + MAX_S
    left_bytes = MAX_BYTES
    try:
        while left_bytes > 0 and monotonic() < end_s and (block := body.read(BLOCK_BYTES)):
            left_bytes -= len(block)
    except (HTTPException, OSError):
        return  # the client is gone
