"""API keys: made, kept, shown, revoked; and the cookies that are given for them."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import ConfigError, InvalidRequest, StorageUnavailable
from topclip.storage.local import LocalStore
from web.app import create_app, services_of
from web.keys import FOLDER, KeyRing, KeyStore
from web.sign_in import LASTS


@pytest.fixture
def keys(store: LocalStore) -> KeyStore:
    return KeyStore(store)


@pytest.fixture
def alices(keys: KeyStore) -> str:
    return keys.add("alice", "alice")


@pytest.fixture
def guarded(alices: str, settings: Settings, client: FakeClient, store: LocalStore) -> Flask:
    return create_app(settings, client, store)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(http: FlaskClient, key: str = "") -> int:
    return http.get("/api/jobs", headers=bearer(key) if key else {}).status_code


def signed_in(app: Flask, key: str, **base: str) -> FlaskClient:
    http = app.test_client()
    assert http.post("/sign-in", data={"key": key}, environ_base=base).status_code == 303
    return http


def test_a_key_is_kept_as_a_hash_that_its_user_alone_can_read(keys: KeyStore, alices: str, store: LocalStore) -> None:
    files = [path for path in (store.root / FOLDER).rglob("*") if path.is_file()]
    assert (store.root / FOLDER / "alice.json") in files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert not any(alices.encode() in path.read_bytes() for path in store.root.rglob("*") if path.is_file())
    assert len(alices) >= 43
    assert alices not in repr(keys.all())
    assert keys.all()[0].name == "alice"
    assert b"metrics" not in store.get_bytes(f"{FOLDER}/alice.json")  # an older server knows of none


def test_keys_are_random_and_a_name_is_given_once(keys: KeyStore, alices: str, guarded: Flask) -> None:
    assert keys.add("bob", "alice") != alices
    with pytest.raises(InvalidRequest, match="there is a key alice already"):
        keys.add("alice", "alice")
    assert status(guarded.test_client(), alices) == 200


@pytest.mark.parametrize("name", ["", "Alice", "../alice", "a/b", "a.b", "-a", "a" * 41, "a\n", "ä", "a:b"])
def test_a_name_that_is_none_is_refused_and_writes_nothing(keys: KeyStore, store: LocalStore, name: str) -> None:
    for act in (lambda: keys.add(name, "alice"), lambda: keys.add("alice", name), lambda: keys.revoke(name)):
        with pytest.raises(InvalidRequest):
            act()
    assert store.list(FOLDER) == []


def test_a_running_server_learns_of_keys_and_shuts_its_doors(app: Flask, keys: KeyStore) -> None:
    http, ring = app.test_client(), services_of(app).keys
    assert status(http) == 200
    key = keys.add("alice", "alice")
    ring.refresh()
    assert (status(http), status(http, key)) == (401, 200)
    keys.revoke("alice")
    ring.refresh()
    assert (status(http), status(http, key)) == (401, 401)  # the last key's end opens nothing


def test_after_a_restart_a_revoked_last_key_leaves_the_doors_shut(
    keys: KeyStore, alices: str, settings: Settings, client: FakeClient, store: LocalStore
) -> None:
    keys.revoke("alice")
    http = create_app(settings, client, store).test_client()
    assert (status(http), status(http, alices)) == (401, 401)
    with pytest.raises(ConfigError):
        create_app(settings.model_copy(update={"host": "0.0.0.0"}), client, store)


def test_revoking_takes_the_cookies_too_and_the_name_is_free_again(guarded: Flask, keys: KeyStore, alices: str) -> None:
    http = signed_in(guarded, alices)
    assert status(http) == 200
    keys.revoke("alice")
    services_of(guarded).keys.refresh()
    assert status(http) == 401
    new = keys.add("alice", "alice")
    services_of(guarded).keys.refresh()
    assert (status(http), status(http, alices), status(http, new)) == (401, 401, 200)


def test_a_stream_ends_when_the_key_is_revoked(
    guarded: Flask, keys: KeyStore, alices: str, client: FakeClient, job: str
) -> None:
    client.change(job, owner="alice")
    http = guarded.test_client()
    stream = http.get(f"/api/jobs/{job}/events", headers=bearer(alices), buffered=False)
    blocks: Iterator[bytes] = iter(stream.response)  # type: ignore[assignment]
    assert b"retry" in next(blocks)
    assert b"RUNNING" in next(blocks)
    keys.revoke("alice")
    services_of(guarded).keys.refresh()
    assert list(blocks) == []


def test_a_held_answer_is_not_given_to_a_key_that_was_revoked_meanwhile(
    guarded: Flask, keys: KeyStore, alices: str, client: FakeClient, job: str
) -> None:
    client.change(job, owner="alice")
    followers, answers = services_of(guarded).followers, []
    thread = threading.Thread(
        target=lambda: answers.append(
            guarded.test_client().get(f"/api/job-status/{job}?wait=60", headers=bearer(alices))
        )
    )
    thread.start()
    until(lambda: followers.count(job))
    keys.revoke("alice")
    services_of(guarded).keys.refresh()
    thread.join(10)
    assert [answer.status_code for answer in answers] == [401]


def test_a_cookie_is_for_this_site_alone_and_for_no_script(guarded: Flask, alices: str) -> None:
    http = guarded.test_client()
    cookie = http.post("/sign-in", data={"key": alices}).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert alices not in cookie
    cookie = http.post("/sign-in", data={"key": alices}, base_url="https://localhost").headers["Set-Cookie"]
    assert "Secure" in cookie.split("; ")


def test_behind_a_trusted_proxy_the_cookie_is_secure_and_else_the_proxys_word_counts_for_nothing(
    alices: str, settings: Settings, client: FakeClient, store: LocalStore
) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    for n, wanted in ((0, False), (1, True)):
        app = create_app(settings.model_copy(update={"trusted_proxies": n}), client, store)
        cookie = app.test_client().post("/sign-in", data={"key": alices}, headers=told).headers["Set-Cookie"]
        assert ("Secure" in cookie) is wanted


def test_a_cookie_ends_by_itself(guarded: Flask, alices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    http = signed_in(guarded, alices)
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + LASTS.total_seconds() - 5)
    assert status(http) == 200
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + LASTS.total_seconds() + 5)
    assert status(http) == 401


def test_signing_out_takes_the_cookie_back(guarded: Flask, alices: str) -> None:
    http = signed_in(guarded, alices)
    assert b"Sign out" in http.get("/").data
    assert http.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert status(http) == 200
    assert http.post("/sign-out").status_code == 303
    assert status(http) == 401
    assert b"Sign out" not in guarded.test_client().get("/", headers=bearer(alices)).data


def test_a_forged_cookie_opens_nothing(guarded: Flask, alices: str, keys: KeyStore) -> None:
    http = guarded.test_client()
    fingerprint = keys.all()[0].fingerprint
    for secret in (b"", b"guess", keys.all()[0].sha256.encode()):
        guarded.secret_key = secret or b"0"
        serializer = super(type(guarded.session_interface), guarded.session_interface).get_signing_serializer(guarded)  # type: ignore[misc]
        http.set_cookie("topclip", serializer.dumps({"key": fingerprint}))
        assert status(http) == 401


def test_all_servers_of_a_store_know_each_others_cookies_unless_told_otherwise(
    guarded: Flask, alices: str, settings: Settings, client: FakeClient, store: LocalStore
) -> None:
    cookie = signed_in(guarded, alices).get_cookie("topclip")
    assert cookie
    for secret, wanted in (("", 200), ("another", 401)):
        other = create_app(settings.model_copy(update={"secret_key": secret}), client, store).test_client()
        other.set_cookie("topclip", cookie.value)
        assert status(other) == wanted


@pytest.mark.parametrize(
    ("given", "texts", "owner"),
    [("alice:secret-of-alice", ("secret-of-alice", "alice:secret-of-alice"), "alice"), ("plain", ("plain",), "key-")],
)
def test_keys_of_the_environment_open_under_their_names(
    settings: Settings, store: LocalStore, given: str, texts: tuple[str, ...], owner: str
) -> None:
    ring = KeyRing(settings.model_copy(update={"api_keys": (given, "b:other")}), store)
    for text in texts:
        found = ring.find(text)
        assert found
        assert found.owner.startswith(owner)
    assert ring.find("alice") is None
    assert ring.find("") is None


def test_an_empty_key_of_the_environment_is_no_key(settings: Settings, store: LocalStore) -> None:
    with pytest.raises(ConfigError, match="no key after `alice:`"):
        KeyRing(settings.model_copy(update={"api_keys": ("alice:",)}), store)
    with pytest.raises(ConfigError, match="is one of TOPCLIP_API_KEYS"):
        KeyRing(settings.model_copy(update={"api_keys": ("alice:same",), "metrics_key": "same"}), store)


def test_a_broken_key_opens_nothing_and_hurts_no_other(
    keys: KeyStore, alices: str, store: LocalStore, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    store.put_bytes(f"{FOLDER}/broken.json", b'{"name": "broken"')
    ring = KeyRing(settings, store)
    assert ring.find(alices)
    assert "broken.json" in caplog.text


def test_while_the_store_is_away_the_last_known_keys_count(
    alices: str, settings: Settings, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(settings, store)

    def away(prefix: str) -> list[str]:
        raise StorageUnavailable("away")

    monkeypatch.setattr(store, "list", away)
    with pytest.raises(StorageUnavailable):
        ring.refresh()
    assert ring.find(alices)


def test_a_key_that_cannot_be_read_now_goes_on_as_it_was(
    alices: str, settings: Settings, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store still lists, and breaks off then."""
    ring = KeyRing(settings, store)

    def away(key: str) -> bytes:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "get_bytes", away)
        ring.refresh()
        assert ring.find(alices)
    store.delete(f"{FOLDER}/alice.json")
    ring.refresh()
    assert not ring.find(alices)


def test_before_the_store_has_answered_once_the_doors_are_shut(
    alices: str, settings: Settings, store: LocalStore, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever address: nobody knows yet whether a key is needed."""

    def away(prefix: str) -> list[str]:
        raise StorageUnavailable("away")

    (settings.data_dir / "media").mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(store, "list", away)
        app = create_app(settings.model_copy(update={"host": "0.0.0.0", "api_keys": ("bob:given",)}), client, store)
        http = app.test_client()
        assert http.get("/api/jobs").status_code == 503
        assert http.get("/").status_code == 503
        assert http.get("/api/jobs", headers=bearer(alices)).status_code == 503
        assert http.get("/api/jobs", headers=bearer("given")).status_code == 200
        assert http.post("/sign-in", data={"key": "given"}).status_code == 503
        assert http.get("/health/live", headers=bearer(alices)).status_code == 200
        elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
        answers = [http.get("/api/jobs", headers=bearer(f"guess-{n}"), environ_base=elsewhere) for n in range(301)]
        assert [answer.status_code for answer in answers[298:]] == [503, 503, 429]
        assert http.get("/api/jobs", headers=bearer("given"), environ_base=elsewhere).status_code == 429
        assert http.get("/api/jobs", headers=bearer("given")).status_code == 200
    services_of(app).keys.refresh()
    assert http.get("/api/jobs").status_code == 401
    assert http.get("/api/jobs", headers=bearer(alices)).status_code == 200


def test_a_store_that_comes_back_without_keys_opens_for_this_machine_alone(
    settings: Settings, store: LocalStore, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(prefix: str) -> list[str]:
        raise StorageUnavailable("away")

    (settings.data_dir / "media").mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(store, "list", away)
        app = create_app(settings.model_copy(update={"host": "0.0.0.0"}), client, store)
        assert app.test_client().get("/api/jobs").status_code == 503
    services_of(app).keys.refresh()
    assert app.test_client().get("/api/jobs").status_code == 200
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    assert app.test_client().get("/api/jobs", environ_base=elsewhere).status_code == 403


def test_the_look_at_the_keys_goes_on_whatever_it_died_of(
    alices: str, keys: KeyStore, settings: Settings, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.keys.LOOK_EVERY_S", 0.05)
    ring, faults, list_ = KeyRing(settings, store), [KeyError("a mistake of ours"), OSError("odd")], store.list

    def odd(prefix: str) -> list[str]:
        if faults:
            raise faults.pop()
        return list_(prefix)

    monkeypatch.setattr(store, "list", odd)
    keys.revoke("alice")
    ring.start()
    until(lambda: not ring.find(alices), 10)
    ring.stop()


def test_no_log_and_no_answer_names_a_key(
    guarded: Flask, alices: str, caplog: pytest.LogCaptureFixture, client: FakeClient
) -> None:
    caplog.set_level(logging.DEBUG)
    http = guarded.test_client()
    client.list = None  # type: ignore[assignment]
    answers = [http.get("/api/jobs", headers=bearer(alices)), http.get("/api/jobs", headers=bearer(alices + "x"))]
    answers.append(http.post("/sign-in", data={"key": alices + "x"}))
    assert [answer.status_code for answer in answers] == [500, 401, 401]
    assert alices not in caplog.text + "".join(answer.text + str(answer.headers) for answer in answers)
    settings = Settings(
        api_keys=("alice:secret",), api_key="secret", secret_key="secret", redis_url="redis://:secret@h"
    )
    assert "secret" not in repr(settings) + str(settings)
