"""Callbacks on a real Redis and a real receiver: owed with the end, signed, tried again, and in the way of nobody."""

import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Request, Server, in_turn, make_certificate, reply, serving
from tests.workers.conftest import JOB, P, works
from topclip.model.callback import CallbackLog
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.outbound.http import Outbound
from workers.backend import result_meta, revoked_meta
from workers.callbacks import DELAYS_S, Courier, read_log
from workers.scripts import Scripts

pytestmark = pytest.mark.usefixtures("worker")

OTHER = "8f14e45f-ceea-467f-9575-222222222222"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NEWER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()


@pytest.fixture
def receiver() -> Iterator[Server]:
    with serving(reply(b"thanks", 204)) as found:
        yield found


@pytest.fixture
def courier(scripts: Scripts) -> Courier:
    return Courier(scripts, Outbound(["127.0.0.1/32"]), [SECRET])


def submit(scripts: Scripts, url: str | None, job: str = JOB) -> str:
    request = ClipRequest(source=MediaPath(path="/a.mp4", name="a.mp4"), options=ClipOptions(callback_url=url))
    meta = result_meta(job, 1, "QUEUED", {})
    args = (request.model_dump_json(), "1000.5", 4_000_000_000, "a.mp4", meta, "probe", 10, 1, "")
    assert scripts("submit", job, *args) == "OK"
    return job


def succeed(scripts: Scripts, job: str = JOB, epoch: int = 1) -> None:
    result = {"state": "SUCCEEDED", "manifest": "m", "clips": [{"n": 1, "start_s": 1.0, "end_s": 2.0}]}
    assert scripts("store", job, epoch, "", "", job, result_meta(job, epoch, "SUCCESS", result), "SUCCEEDED") == "OK"


def claim(scripts: Scripts) -> list[tuple[str, int, int]]:
    return [(job, int(epoch), int(n)) for job, epoch, n in scripts("claim_callbacks", "", 600, 60)]


def log_of(scripts: Scripts, job: str = JOB) -> CallbackLog:
    return read_log(scripts("read_callbacks", job))


def is_due_now(redis: Any, job: str = JOB) -> None:
    """As if the time of the next try had come."""
    redis.zadd(f"{P}callbacks", {job: 1})
    for key in redis.keys(f"{P}callback-host:*"):
        redis.delete(key)


@pytest.mark.parametrize("end", ["store", "fail", "cancel", "finish"])
def test_every_end_of_a_job_owes_a_callback_in_the_same_step(scripts: Scripts, redis: Any, end: str) -> None:
    submit(scripts, "https://example.com/hook?key=1")
    if end == "store":
        succeed(scripts)
    elif end == "fail":
        scripts("fail", JOB, result_meta(JOB, 1, "FAILURE", None))
    else:
        if end == "finish":
            scripts("start", JOB, 1, "", "", "probe", "probe", revoked_meta(JOB, 1), 9)
        scripts("cancel", JOB, revoked_meta(JOB, 1))
        if end == "finish":
            assert claim(scripts) == []
            scripts("finish", JOB, 1, "", "", "probe", "done", revoked_meta(JOB, 1))
    assert log_of(scripts).state == "PENDING"
    assert claim(scripts) == [(JOB, 1, 0)]
    assert claim(scripts) == []


def test_nothing_is_owed_where_nobody_asked_or_the_job_goes_on(scripts: Scripts, redis: Any) -> None:
    submit(scripts, None)
    succeed(scripts)
    submit(scripts, "https://example.com/", OTHER)
    assert claim(scripts) == []
    assert log_of(scripts) == CallbackLog(url=None, state=None, next_try_at=None, tries=())
    assert log_of(scripts, OTHER).url == "https://example.com/"


def test_it_is_signed_by_the_standard_webhooks_scheme_with_every_secret(
    scripts: Scripts, receiver: Server, courier: Courier
) -> None:
    submit(scripts, receiver.url("/hook?key=1"))
    succeed(scripts)
    Courier(courier.scripts, courier.outbound, [SECRET, NEWER]).tell(*claim(scripts)[0])
    request = receiver.requests[0]
    assert request.line == "POST /hook?key=1 HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in (SECRET, NEWER)]
    wanted = [f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}" for key in keys]
    assert request.headers["webhook-signature"].split(" ") == wanted
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    event = json.loads(request.body)
    assert (event["type"], event["data"]["id"], event["data"]["state"]) == ("job.succeeded", JOB, "SUCCEEDED")
    assert event["timestamp"] == event["data"]["finished_at"]
    assert event["data"]["clips"][0]["state"] == "SUCCEEDED"
    assert b"key=1" not in request.body


def test_the_snippet_of_the_documentation_verifies_it_and_refuses_what_was_changed(
    scripts: Scripts, receiver: Server, courier: Courier
) -> None:
    page = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert snippet
    namespace: dict[str, Any] = {}
    exec(snippet[1], namespace)
    verify = namespace["verify"]
    submit(scripts, receiver.url())
    succeed(scripts)
    courier.tell(*claim(scripts)[0])
    headers, body = receiver.requests[0].headers, receiver.requests[0].body
    assert verify(SECRET, headers, body) == json.loads(body)
    for secret, head, content in (
        (NEWER, headers, body),
        (SECRET, headers, body + b" "),
        (SECRET, headers | {"webhook-id": "other"}, body),
        (SECRET, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3600)}, body),
    ):
        with pytest.raises(ValueError, match="webhook"):
            verify(secret, head, content)


def test_it_is_told_again_under_one_id_until_it_is_taken(
    scripts: Scripts, redis: Any, receiver: Server, courier: Courier
) -> None:
    receiver.answer = in_turn(reply(status=500), reply(status=302, Location="/elsewhere"), reply(status=200))
    submit(scripts, receiver.url())
    succeed(scripts)
    for n in range(3):
        is_due_now(redis)
        assert claim(scripts) == [(JOB, 1, n)]
        courier.tell(JOB, 1, n)
    log = log_of(scripts)
    assert (log.state, log.next_try_at) == ("DELIVERED", None)
    assert [(t.n, t.status, t.error) for t in log.tries] == [
        (1, 500, "answers 500"),
        (2, 302, "answers 302"),
        (3, 200, None),
    ]
    assert {r.headers["webhook-id"] for r in receiver.requests} == {log.tries[0].id} == {f"end_{JOB}_1"}
    assert len({r.body for r in receiver.requests}) == 1
    assert {r.line for r in receiver.requests} == {"POST /video.mp4 HTTP/1.1"}
    assert redis.zcard(f"{P}callbacks") == redis.zcard(f"{P}callbacks-out") == 0


def test_the_pauses_grow_and_the_tries_end(scripts: Scripts, redis: Any, receiver: Server, courier: Courier) -> None:
    receiver.answer = reply(status=500)
    submit(scripts, receiver.url())
    succeed(scripts)
    for n, delay_s in enumerate(DELAYS_S):
        courier.tell(JOB, 1, n)
        pause_s = redis.zscore(f"{P}callbacks", JOB) - time.time()
        assert delay_s - 2 < pause_s < delay_s * 1.3
    courier.tell(JOB, 1, len(DELAYS_S))
    assert (log_of(scripts).state, len(log_of(scripts).tries)) == ("GIVEN_UP", len(DELAYS_S) + 1)
    is_due_now(redis)
    courier.tell(JOB, 1, len(DELAYS_S) + 1)
    assert len(receiver.requests) == len(DELAYS_S) + 1


def test_a_receiver_that_is_gone_or_whose_url_is_forbidden_is_not_asked_again(
    scripts: Scripts, receiver: Server, courier: Courier
) -> None:
    receiver.answer = reply(status=410)
    submit(scripts, receiver.url())
    succeed(scripts)
    courier.tell(JOB, 1, 0)
    assert log_of(scripts).state == "GIVEN_UP"
    submit(scripts, receiver.url(), OTHER)
    succeed(scripts, OTHER)
    Courier(scripts, Outbound(), [SECRET]).tell(OTHER, 1, 0)
    log = log_of(scripts, OTHER)
    assert log.state == "GIVEN_UP"
    assert log.tries[0].error
    assert "not public" in log.tries[0].error
    assert len(receiver.requests) == 1


def test_what_a_try_meets_on_its_way_is_tried_again(scripts: Scripts, redis: Any, tmp_path: Path) -> None:
    """An address that is not public today and a bad certificate, and then all is well."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    found, trusting = ["10.0.0.1"], ssl.create_default_context(cafile=str(certificate))

    def resolver(host: str, port: int) -> list[str]:
        return found

    with serving(reply(), tls=context) as receiver:
        submit(scripts, receiver.url(host="clips.test"))
        succeed(scripts)
        for n, (address, tls) in enumerate((("10.0.0.1", trusting), ("127.0.0.1", None), ("127.0.0.1", trusting))):
            found[:] = [address]
            is_due_now(redis)
            (due,) = claim(scripts)
            assert due == (JOB, 1, n)
            Courier(scripts, Outbound(["127.0.0.1/32"], resolver=resolver, tls=tls), [SECRET]).tell(*due)
    log = log_of(scripts)
    assert (log.state, [t.status for t in log.tries]) == ("DELIVERED", [None, None, 200])
    assert ["not public" in str(t.error) for t in log.tries] == [True, False, False]
    assert "certificate" in str(log.tries[1].error)


def test_a_copy_of_a_tries_message_tells_nothing_twice_once_it_is_done(
    scripts: Scripts, receiver: Server, courier: Courier
) -> None:
    submit(scripts, receiver.url())
    succeed(scripts)
    courier.tell(JOB, 1, 0)
    courier.tell(JOB, 1, 0)
    assert len(receiver.requests) == 1


def test_a_try_whose_worker_died_is_made_again(scripts: Scripts, receiver: Server, courier: Courier) -> None:
    submit(scripts, receiver.url())
    succeed(scripts)
    assert claim(scripts) == [(JOB, 1, 0)]
    assert scripts("begin_callback", JOB, 1, 0, 20) == "OK"  # and its process is killed; its message comes again
    courier.tell(JOB, 1, 0)
    assert log_of(scripts).state == "DELIVERED"


def restart(redis: Any, scripts: Scripts) -> None:
    """As a retry does: the ended job goes on under a new epoch."""
    redis.hset(f"{P}job:{JOB}", mapping={"state": "QUEUED", "epoch": 2})


def test_an_end_that_is_the_jobs_no_more_is_not_told(
    scripts: Scripts, redis: Any, receiver: Server, courier: Courier
) -> None:
    submit(scripts, receiver.url())
    scripts("fail", JOB, result_meta(JOB, 1, "FAILURE", {"exc_type": "Killed", "exc_message": ["killed"]}))
    restart(redis, scripts)
    courier.tell(JOB, 1, 0)
    assert (log_of(scripts).state, receiver.requests) == ("SUPERSEDED", [])
    succeed(scripts, epoch=2)
    assert claim(scripts) == [(JOB, 2, 0)]
    courier.tell(JOB, 2, 0)
    assert [json.loads(r.body)["type"] for r in receiver.requests] == ["job.succeeded"]
    assert receiver.requests[0].headers["webhook-id"] == f"end_{JOB}_2"


def test_a_newer_end_waits_for_the_try_of_an_older_one_that_is_on_its_way(
    scripts: Scripts, redis: Any, receiver: Server, courier: Courier
) -> None:
    submit(scripts, receiver.url())
    scripts("fail", JOB, result_meta(JOB, 1, "FAILURE", {"exc_type": "Killed", "exc_message": ["killed"]}))

    def ends_anew_meanwhile(conn: socket.socket, request: Request) -> None:
        restart(redis, scripts)
        succeed(scripts, epoch=2)
        assert claim(scripts) == []
        seen.append(scripts("begin_callback", JOB, 2, 0, 20))
        reply(status=500)(conn, request)

    seen: list[str] = []

    receiver.answer = in_turn(ends_anew_meanwhile, reply())
    courier.tell(*claim(scripts)[0])
    assert seen == ["LATER"]
    assert claim(scripts) == [(JOB, 2, 0)]
    courier.tell(JOB, 2, 0)
    assert [json.loads(r.body)["type"] for r in receiver.requests] == ["job.failed", "job.succeeded"]
    assert [t.id for t in log_of(scripts).tries] == [f"end_{JOB}_1", f"end_{JOB}_2"]


def test_a_try_that_a_newer_end_came_before_does_not_hold_its_receiver(
    scripts: Scripts, redis: Any, receiver: Server, courier: Courier
) -> None:
    submit(scripts, receiver.url())
    scripts("fail", JOB, result_meta(JOB, 1, "FAILURE", {"exc_type": "Killed", "exc_message": ["killed"]}))
    assert claim(scripts) == [(JOB, 1, 0)]
    restart(redis, scripts)
    succeed(scripts, epoch=2)
    assert claim(scripts) == []
    courier.tell(JOB, 1, 0)
    assert claim(scripts) == [(JOB, 2, 0)]
    assert receiver.requests == []


def job_ids(n: int) -> list[str]:
    return [f"8f14e45f-ceea-467f-9575-{i:012d}" for i in range(n)]


def test_one_receiver_gets_one_try_at_a_time_and_all_of_them_no_more_than_there_is_room_for(scripts: Scripts) -> None:
    for i, job in enumerate(job_ids(6)):
        submit(scripts, f"https://example{i // 2}.com/", job)
        succeed(scripts, job)
    a, b, c = [job for job, _, _ in claim(scripts)]
    assert [a, b, c] == [job_ids(6)[i] for i in (0, 2, 4)]
    assert claim(scripts) == []


def test_half_of_all_slots_that_take_callbacks_are_for_them(scripts: Scripts, redis: Any) -> None:
    for i, job in enumerate(job_ids(5)):
        submit(scripts, f"https://example{i}.com/", job)
        succeed(scripts, job)
    redis.delete(f"{P}workers")  # none was heard of just now
    assert len(claim(scripts)) == 1
    works(redis, "w", 3)
    works(redis, "other", 10, "analyse,render")
    assert claim(scripts) == []
    works(redis, "w2", 3)
    assert len(claim(scripts)) == 2
    assert claim(scripts) == []


@pytest.mark.parametrize("host", ["10.1.2.3", "Example.com", "[2001:db8::1]"])
def test_a_host_is_one_receiver_whatever_its_ports(scripts: Scripts, host: str) -> None:
    """So that one dead address is tried once, and rests, however many ports it was given with."""
    for job, url in zip(
        job_ids(3), (f"http://{host}/", f"http://{host}:2000/", f"HTTP://{host.lower()}:2001"), strict=True
    ):
        submit(scripts, url, job)
        succeed(scripts, job)
    submit(scripts, "https://other.test/", OTHER)
    succeed(scripts, OTHER)
    assert [job for job, _, _ in claim(scripts)] == [job_ids(1)[0], OTHER]


def test_a_receiver_that_does_not_answer_rests_longer_each_time_and_keeps_nobody_waiting(
    scripts: Scripts, redis: Any, receiver: Server
) -> None:
    courier = Courier(scripts, Outbound(["127.0.0.1/32"], resolver=lambda host, port: ["127.0.0.1"]), [SECRET])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    jobs = job_ids(4)
    for job, url in zip(jobs, (dead, dead, dead, receiver.url(host="clips.test")), strict=True):
        submit(scripts, url, job)
        succeed(scripts, job)
    host = f"{P}callback-host:127.0.0.1"
    rests = []
    for job in jobs[:2]:
        redis.hdel(host, "quiet_until")
        courier.tell(job, 1, 0)
        rests.append(float(redis.hget(host, "quiet_until")) - time.time())
    assert rests[0] < 2.5 < rests[1] < 4.5
    assert [job for job, _, _ in claim(scripts)] == [jobs[3]]
    assert scripts("begin_callback", jobs[2], 1, 0, 20) == "LATER"
    assert log_of(scripts, jobs[0]).tries[0].status is None
    courier.tell(jobs[3], 1, 0)
    assert log_of(scripts, jobs[3]).state == "DELIVERED"


def test_callbacks_go_with_their_job(scripts: Scripts, redis: Any, receiver: Server, courier: Courier) -> None:
    redis.flushall()
    receiver.answer = reply(status=500)
    submit(scripts, receiver.url())
    succeed(scripts)
    courier.tell(JOB, 1, 0)
    assert all(redis.ttl(key) > 0 for key in redis.keys(f"*{JOB}*"))
    assert scripts("forget", JOB, 60, "0") == "OK"
    assert set(redis.keys("*")) == {f"{P}gone:{JOB}", f"{P}figures"}
    courier.tell(JOB, 1, 1)
    assert set(redis.keys("*")) == {f"{P}gone:{JOB}", f"{P}figures"}
    assert scripts("read_callbacks", JOB) == "EXPIRED"


def test_a_job_that_expired_is_not_told_of(scripts: Scripts, redis: Any) -> None:
    submit(scripts, "https://example.com/")
    succeed(scripts)
    for key in redis.keys(f"{P}job:*"):
        redis.delete(key)  # as Redis does at its time
    assert claim(scripts) == []
    assert not redis.exists(f"{P}callbacks")
