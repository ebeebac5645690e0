"""The HTTP API as the commands use it: one class, bounded waits, and problem+json turned back into our own errors."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import httpx

from topclip import errors
from topclip.errors import ArtifactMissing, ServerUnreachable, TopClipError
from topclip.model.base import JsonDict

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
LONG_POLL_S = 25
CHUNK_BYTES = 256 * 1024
NOTHING: Mapping[str, Any] = {}

BY_CODE = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TopClipError) and kind is not TopClipError
}


class Server:
    """A TopClip web server. Every method raises the error that the server answered with, or ServerUnreachable."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit_file(
        self, name: str, stream: IO[bytes], options: JsonDict, key: str, attached: Mapping[str, Path] = NOTHING
    ) -> JsonDict:
        """Upload a video, streamed; {"id", "status_url"}. key: sent again with the same, it is answered with the same job."""
        parts: dict[str, Any] = {name: (file.name, file.read_bytes()) for name, file in attached.items()}
        parts["file"] = (name, stream, "application/octet-stream")
        headers = {"Idempotency-Key": key}
        return self._json("POST", "/api/jobs", data={"options": json.dumps(options)}, files=parts, headers=headers)

    def submit_source(
        self, source: str, options: JsonDict, key: str, attached: Mapping[str, str] = NOTHING
    ) -> JsonDict:
        """Name a source that the server can reach itself; {"id", "status_url"}. key: as for `submit_file`."""
        headers = {"Idempotency-Key": key}
        body = {"source": source, "options": options, **attached}
        return self._json("POST", "/api/jobs", json=body, headers=headers)

    def status(self, job_id: str) -> JsonDict:
        """The job's status document."""
        return self._json("GET", f"/api/job-status/{job_id}")

    def next_status(self, job_id: str, etag: str | None) -> tuple[JsonDict | None, str | None]:
        """Wait until the status differs from the one of this ETag: the document, or None if it does not yet, and its
        ETag.
        """
        headers = {"If-None-Match": etag} if etag else {}
        query = {"wait": str(LONG_POLL_S)} if etag else {}
        with self._errors():
            answer = self._http.get(f"/api/job-status/{job_id}", params=query, headers=headers)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None, etag
        return _document(answer), answer.headers.get("ETag")

    def jobs(self, *, limit: int, state: str | None) -> JsonDict:
        """A page of jobs, newest first."""
        query = {"limit": str(limit), **({"state": state} if state else {})}
        return self._json("GET", "/api/jobs", params=query)

    def manifest(self, job_id: str) -> JsonDict:
        """What the job made."""
        return self._json("GET", f"/api/jobs/{job_id}/manifest")

    def cancel(self, job_id: str) -> JsonDict:
        """Ask for the job's end; its status."""
        return self._json("POST", f"/api/jobs/{job_id}/cancel")

    def retry(self, job_id: str) -> JsonDict:
        """Start an ended job again; its status."""
        return self._json("POST", f"/api/jobs/{job_id}/retry")

    def replan(self, job_id: str, asked: JsonDict) -> JsonDict:
        """Plan an ended job again with other options; its status."""
        return self._json("POST", f"/api/jobs/{job_id}/replan", json=asked)

    def recut(self, job_id: str, n: int, asked: JsonDict) -> JsonDict:
        """Give one clip of an ended job another range; the job's status."""
        return self._json("PATCH", f"/api/jobs/{job_id}/clips/{n}", json=asked)

    def export(self, job_id: str, kind: str) -> bytes:
        """The job's plan as other programs read it."""
        with self._errors():
            answer = self._http.get(f"/api/jobs/{job_id}/export.{kind}")
        if answer.is_error:
            raise _error(answer)
        return answer.content

    def delete(self, job_id: str) -> None:
        """Delete the job and all it made."""
        self._json("DELETE", f"/api/jobs/{job_id}")

    def download(self, path: str, target: Path) -> None:
        """Fetch into a file: under a temporary name first, so that a file that is there is whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with (
                self._errors(),
                self._http.stream("GET", path, follow_redirects=True) as answer,  # clips may lie in a bucket
                partial.open("wb") as out,
            ):
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                _write(answer, out, target)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _json(self, method: str, path: str, **request: Any) -> JsonDict:
        with self._errors():
            answer = self._http.request(method, path, **request)
        return _document(answer)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.InvalidURL as err:
            raise ServerUnreachable(f"{self.url} is not a URL: {err}") from err
        except httpx.HTTPError as err:
            raise ServerUnreachable(
                f"no TopClip server answers at {self.url}: {err or type(err).__name__}",
                {"hint": "start one with `topclip up`, or name another with --url"},
            ) from err


def _write(answer: httpx.Response, out: IO[bytes], target: Path) -> None:
    try:
        for block in answer.iter_bytes(CHUNK_BYTES):
            out.write(block)
    except httpx.HTTPError as err:
        raise ServerUnreachable(
            f"the download of {target.name} broke off: {err or type(err).__name__}",
            {"hint": "try again; where it always breaks off the server's file is damaged: replan with other options"},
        ) from err


def _document(answer: httpx.Response) -> JsonDict:
    if answer.is_error:
        raise _error(answer)
    if not answer.content:
        return {}
    try:
        document = answer.json()
    except ValueError as err:
        raise ServerUnreachable(f"{answer.url} answers, but not as a TopClip server does") from err
    return document if isinstance(document, dict) else {}


def _error(answer: httpx.Response) -> TopClipError:
    """The error that a problem+json answer stands for."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        if answer.status_code == httpx.codes.NOT_FOUND:
            return ArtifactMissing(f"{answer.url}: not found")
        return ServerUnreachable(f"{answer.url} answers {answer.status_code} {answer.reason_phrase}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        problem.setdefault(
            "hint", "set TOPCLIP_API_KEY to a key of that server; its operator makes them: `topclip keys add`"
        )
    kind = BY_CODE.get(problem["code"], TopClipError)
    detail = {key: value for key, value in problem.items() if key in ("field", "hint", "errors", "state")}
    return kind(_message(problem), detail)


def _message(problem: JsonDict) -> str:
    """The answer's detail, each faulty field named once."""
    message = str(problem.get("detail") or problem.get("title"))
    field = problem.get("field")
    return f"{field}: {message}" if field and str(field) not in message else message
