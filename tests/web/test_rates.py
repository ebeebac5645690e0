"""How often somebody may ask: submits on a real Redis, all else in the process."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from tests.nodes import RedisContainer
from tests.web.conftest import form
from topclip.config import Settings
from topclip.storage.local import LocalStore
from web.app import create_app, stop

KEYS = ("alice:a-key", "bob:b-key")
MakeApp = Callable[..., Flask]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisContainer]:
    node = RedisContainer(tmp_path_factory.mktemp("redis"))
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture
def redis(node: RedisContainer) -> RedisContainer:
    node.client.flushall()
    return node


@pytest.fixture
def make_app(settings: Settings, client: FakeClient, store: LocalStore, redis: RedisContainer) -> Iterator[MakeApp]:
    """make_app(**settings) -> an application that counts on the Redis."""
    made: list[Flask] = []
    client.watch(lambda _: None, lambda: None)

    def make(**changes: Any) -> Flask:
        given = {"redis_url": redis.url, "api_keys": KEYS, **changes}
        made.append(create_app(settings.model_copy(update=given), client, store))
        return made[-1]

    yield make
    for app in made:
        stop(app)


def post(app: Flask, key: str = "a-key", address: str = "127.0.0.1") -> Any:
    base = {"REMOTE_ADDR": address}
    return app.test_client().post("/api/jobs", data=form(b""), headers={"X-API-Key": key}, environ_base=base)


def get(app: Flask, key: str = "a-key", path: str = "/api/jobs", address: str = "127.0.0.1") -> Any:
    headers = {"X-API-Key": key} if key else {}
    return app.test_client().get(path, headers=headers, environ_base={"REMOTE_ADDR": address})


def is_limited(answer: Any) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "RATE_LIMITED"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return True


def test_submits_are_bounded_for_each_key_over_all_servers(make_app: MakeApp) -> None:
    one, two = make_app(submit_rate="3/minute"), make_app(submit_rate="3/minute")
    assert [is_limited(post(app)) for app in (one, two, one, two)] == [False, False, False, True]
    assert not is_limited(post(one, "b-key"))
    assert get(one).status_code == 200


def test_what_was_begun_can_be_stopped_when_submits_are_used_up(
    make_app: MakeApp, client: FakeClient, job: str
) -> None:
    app = make_app(submit_rate="1/minute")
    client.change(job, owner="alice")
    post(app)
    assert is_limited(post(app))
    cancelled = app.test_client().post(f"/api/jobs/{job}/cancel", headers={"X-API-Key": "a-key"})
    assert cancelled.status_code == 202


def test_reads_are_bounded_for_each_key_without_asking_redis(make_app: MakeApp, redis: RedisContainer) -> None:
    app = make_app(read_rate="3/minute;5/hour")
    assert [is_limited(get(app)) for _ in range(4)] == [False, False, False, True]
    assert not is_limited(get(app, "b-key"))
    assert redis.client.keys("topclip:rate*") == []
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/static/topclip.js", "/sign-in"):
        with get(app, path=path) as answer:
            assert answer.status_code == 200, path


def test_without_keys_only_what_is_set_is_counted_and_by_address(make_app: MakeApp) -> None:
    free = make_app(api_keys=())
    assert not any(is_limited(post(free, "")) for _ in range(70))
    bound = make_app(api_keys=(), submit_rate="2/minute")
    assert [is_limited(post(bound, "")) for _ in range(3)] == [False, False, True]
    assert not is_limited(post(bound, "", "127.0.0.2"))


def test_with_keys_there_is_a_bound_for_submits_unless_it_is_off(make_app: MakeApp) -> None:
    app = make_app()
    assert [is_limited(post(app)) for _ in range(61)] == [False] * 60 + [True]
    assert not is_limited(post(make_app(submit_rate="off")))


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_frozen_or_dead_redis_bounds_nobody(tmp_path: Path, make_app: MakeApp, fault: signal.Signals) -> None:
    (tmp_path / "own").mkdir()
    own = RedisContainer(tmp_path / "own")
    try:
        assert own.ready()
        app = make_app(redis_url=own.url, submit_rate="1/minute")
        post(app)
        assert is_limited(post(app))
        own.kill(fault)
        answers = [post(app) for _ in range(3)]
        assert [answer.json["code"] for answer in answers] == ["INVALID_REQUEST"] * 3  # an empty file: it was looked at
    finally:
        own.teardown()


def test_wrong_keys_are_bounded_by_address_and_shut_out_nobody_who_was_right_there(make_app: MakeApp) -> None:
    app = make_app()
    assert get(app, "a-key").status_code == 200
    assert [get(app, f"guess-{n}").status_code for n in range(21)] == [401] * 20 + [429]
    assert is_limited(get(app, "another"))
    assert get(app, "a-key").status_code == 200
    assert is_limited(get(app, "b-key"))  # right, but who guesses does not learn it
    assert get(app, "b-key", address="127.0.0.2").status_code == 200
    form_answer = app.test_client().post("/sign-in", data={"key": "guess"})
    assert form_answer.status_code == 429
    assert b"too many wrong keys" in form_answer.data
    assert int(form_answer.headers["Retry-After"]) >= 1


def test_all_addresses_of_a_network_of_ipv6_are_one_and_a_header_is_no_address(make_app: MakeApp) -> None:
    app = make_app()
    for n in range(20):
        get(app, "guess", address=f"2001:db8::{n:x}")
    assert is_limited(get(app, "guess", address="2001:db8::ffff"))
    assert get(app, "guess", address="2001:db8:0:1::1").status_code == 401
    forwarded = {"X-API-Key": "guess", "X-Forwarded-For": "203.0.113.1"}
    base = {"REMOTE_ADDR": "2001:db8::1"}
    assert is_limited(app.test_client().get("/api/jobs", headers=forwarded, environ_base=base))
    proxied = make_app(trusted_proxies=1)
    for n in range(21):
        answer = proxied.test_client().get(
            "/api/jobs", headers={"X-API-Key": "guess", "X-Forwarded-For": f"6.6.6.{n}, 203.0.113.1"}
        )
    assert is_limited(answer)


def test_every_route_is_bound_or_named_free(make_app: MakeApp) -> None:
    app = make_app(submit_rate="1/minute", read_rate="1/minute")
    free = {"static", "sign_in", "sign_out", "health.full", "health.live", "health.ready", "health.metrics"}
    http: FlaskClient = app.test_client()
    post(app)
    get(app)
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if rule.endpoint in free:
            continue
        values = {"job_id": "x", "n": 1, "file": "x", "digest": "x", "kind": "edl"}
        path = adapter.build(rule.endpoint, {k: values[k] for k in rule.arguments})
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            assert is_limited(http.open(path, method=method, headers={"X-API-Key": "a-key"})), (method, path)
