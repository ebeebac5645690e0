"""Real workers fetch sources from a real server and tell a real receiver how a job ended, whatever dies in between."""

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container
from tests.nodes import RedisContainer
from tests.servers import Request, Server, head, in_turn, reply, serving
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus, Stage
from topclip.model.request import ClipOptions, ClipRequest, MediaPath, UrlSource
from topclip.storage.base import ArtifactStore, upload_key
from workers import names
from workers.client import JobClient

Finished = Callable[..., JobStatus]
LEASE_S = 4.0
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OPTIONS = {"count": 1, "min_length": 3, "max_length": 6}


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    """Workers that may reach this machine."""
    return Settings(
        redis_url=redis_node.url,
        data_dir=tmp_path,
        lease_s=LEASE_S,
        webhook_secret=(SECRET,),
        private_networks=("127.0.0.1/32",),
    )


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(reply()) as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Server]:
    with serving(reply()) as found:
        yield found


def submit_url(client: JobClient, url: str, **options: object) -> str:
    job_id = str(uuid4())
    source = UrlSource(url=url, key=upload_key(job_id, ".mp4"), name="talk.mp4")
    client.submit(job_id, ClipRequest(source=source, options=ClipOptions.model_validate(OPTIONS | options)))
    return job_id


def submit_path(client: JobClient, path: Path, receiver: Server, **options: object) -> str:
    job_id = str(uuid4())
    asked = ClipOptions.model_validate(OPTIONS | {"callback_url": receiver.url("/hook")} | options)
    client.submit(job_id, ClipRequest(source=MediaPath(path=str(path), name=path.name), options=asked))
    return job_id


def test_a_source_on_another_server_is_fetched_and_clipped(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    server: Server,
    client: JobClient,
    store: ArtifactStore,
    finished: Finished,
) -> None:
    content = one_chunk.read_bytes()

    def broken(conn: socket.socket, request: Request) -> None:
        conn.sendall(head(Content_Length=str(len(content)), ETag='"a"') + content[:1000])

    def rest(conn: socket.socket, request: Request) -> None:
        part = f"bytes 1000-{len(content) - 1}/{len(content)}"
        conn.sendall(
            head(206, Content_Length=str(len(content) - 1000), Content_Range=part, ETag='"a"') + content[1000:]
        )

    server.answer = in_turn(
        reply(status=302, Location="/moved?key=2"), broken, reply(status=302, Location="/moved"), rest
    )
    job_id = submit_url(client, server.url("/talk.mp4?key=secret"))
    assert finished(job_id).state is JobState.SUCCEEDED
    assert store.get_bytes(upload_key(job_id, ".mp4")) == content
    assert server.requests[-1].headers["range"] == "bytes=1000-"
    assert len(server.requests) == 4
    assert "secret" not in container(celery_setup).logs()


def test_a_source_that_may_not_be_fetched_fails_the_job_with_that_reason(
    celery_setup: CeleryTestSetup, server: Server, client: JobClient, finished: Finished
) -> None:
    server.answer = reply(status=302, Location="http://169.254.169.254/latest/meta-data")
    status = finished(submit_url(client, server.url()))
    assert status.error
    assert (status.state, status.error.code, status.error.stage) == (JobState.FAILED, "URL_REFUSED", Stage.PROBE)
    assert status.error.hint


@pytest.mark.faults
def test_a_job_is_cancelled_while_its_source_is_on_its_way(
    celery_setup: CeleryTestSetup, server: Server, client: JobClient, store: ArtifactStore, finished: Finished
) -> None:
    left: list[str] = []

    def half(conn: socket.socket, request: Request) -> None:
        conn.sendall(head(Content_Length="2000000") + b"x" * 1_000_000)
        conn.recv(1)
        left.append(request.line)

    server.answer = half
    job_id = submit_url(client, server.url())

    def half_done() -> bool:
        download = client.read(job_id).download
        return download is not None and (download.done_bytes, download.total_bytes) == (1_000_000, 2_000_000)

    until(half_done, 20)
    assert client.read(job_id).progress == 0.01
    assert len(store.staged()) == 1
    client.cancel(job_id)
    assert finished(job_id, 5).state is JobState.CANCELLED
    until(lambda: left and not store.staged(), 20)
    assert not store.exists(upload_key(job_id, ".mp4"))


def types(receiver: Server) -> list[str]:
    return [json.loads(request.body)["type"] for request in receiver.requests]


def test_the_end_of_a_job_is_told_signed_and_once(
    celery_setup: CeleryTestSetup, one_chunk: Path, receiver: Server, client: JobClient, finished: Finished
) -> None:
    job_id = submit_path(client, one_chunk, receiver)
    finished(job_id)
    until(lambda: client.callbacks(job_id).state == "DELIVERED", 15)
    (request,) = receiver.requests
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    event = json.loads(request.body)
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", job_id)
    assert client.callbacks(job_id).tries[0].status == 200


@pytest.mark.faults
def test_failed_and_cancelled_jobs_are_told_too(
    celery_setup: CeleryTestSetup, source: Path, tmp_path: Path, receiver: Server, client: JobClient, finished: Finished
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    finished(submit_path(client, text, receiver))
    until(lambda: types(receiver) == ["job.failed"], 15)
    job_id = submit_path(client, source, receiver)
    until(lambda: client.read(job_id).stage is Stage.ANALYSE, 20)
    client.cancel(job_id)
    finished(job_id)
    until(lambda: types(receiver) == ["job.failed", "job.cancelled"], 15)


@pytest.mark.faults
def test_a_receiver_that_is_dead_at_first_is_told_when_it_is_back_and_holds_no_job_up(
    celery_setup: CeleryTestSetup, one_chunk: Path, client: JobClient, finished: Finished
) -> None:
    with serving(reply()) as gone:
        port = gone.port
    job_id = submit_path(client, one_chunk, gone)
    finished(job_id)
    until(lambda: client.callbacks(job_id).tries, 15)
    assert client.callbacks(job_id).state == "PENDING"
    with serving(reply(), port=port) as back:
        until(lambda: client.callbacks(job_id).state == "DELIVERED", 20)
        assert [request.line for request in back.requests] == ["POST /hook HTTP/1.1"]
    dead, taken = client.callbacks(job_id).tries
    assert dead.id == taken.id == back.requests[0].headers["webhook-id"]
    assert (dead.status, taken.status) == (None, 200)


@pytest.mark.faults
def test_an_end_is_told_although_every_worker_was_killed_before_it_could_be(
    celery_setup: CeleryTestSetup, source: Path, receiver: Server, client: JobClient
) -> None:
    worker = container(celery_setup)
    worker.kill()
    job_id = submit_path(client, source, receiver)
    client.cancel(job_id)  # ended, with nobody there to tell it
    assert client.callbacks(job_id).state == "PENDING"
    worker.restart()
    until(lambda: types(receiver) == ["job.cancelled"], 30)


@pytest.mark.faults
def test_a_try_whose_worker_is_killed_in_it_is_made_again_under_the_same_id(
    celery_setup: CeleryTestSetup, source: Path, receiver: Server, client: JobClient
) -> None:
    worker = container(celery_setup)

    def silent(conn: socket.socket, request: Request) -> None:
        conn.recv(1)

    receiver.answer = in_turn(silent, reply())
    worker.kill("SIGSTOP")
    job_id = submit_path(client, source, receiver)
    client.cancel(job_id)
    worker.kill("SIGCONT")
    until(lambda: receiver.requests, 20)
    children = worker.children()
    worker.kill()
    for child in children:
        child.kill()
    worker.restart()
    until(lambda: client.callbacks(job_id).state == "DELIVERED", 40, worker.logs)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.faults
def test_a_try_that_a_full_redis_refuses_as_it_begins_is_made_once_there_is_room(
    celery_setup: CeleryTestSetup, source: Path, receiver: Server, client: JobClient, redis_node: RedisContainer
) -> None:
    worker, redis = container(celery_setup), redis_node.client
    children = worker.children()
    for child in children:
        child.suspend()
    job_id = submit_path(client, source, receiver)
    client.cancel(job_id)  # told by one process, while another has the job's first task
    until(lambda: f"Task {names.CALLBACK}[" in worker.logs(), 30, worker.logs)
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "100kb")
    for child in children:
        child.resume()
    refused = ("callback of job", "raised unexpected")
    until(lambda: any(text in worker.logs() for text in refused), 30, worker.logs)
    redis.config_set("maxmemory", "0")
    until(lambda: types(receiver) == ["job.cancelled"], 15, worker.logs)


@pytest.mark.faults
def test_a_try_that_fails_while_redis_is_away_is_made_again(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    server: Server,
    client: JobClient,
    finished: Finished,
    redis_node: RedisContainer,
) -> None:
    content = one_chunk.read_bytes()
    asked, may_fail, is_back = Event(), Event(), Event()

    def answer(connection: socket.socket, request: Request) -> None:
        asked.set()
        may_fail.wait(60)
        if is_back.is_set():  # else cut off, which a retry can help
            connection.sendall(head(Content_Length=str(len(content))) + content)

    server.answer = answer
    worker = container(celery_setup)
    job_id = submit_url(client, server.url("/a.mp4"))
    assert asked.wait(30)
    redis_node.kill()
    may_fail.set()
    until(lambda: "its retry could not be published" in worker.logs(), 60, worker.logs)
    is_back.set()
    redis_node.restart()
    status = finished(job_id, 60)
    assert (status.state, status.attempts, status.error) == (JobState.SUCCEEDED, 1, None)
