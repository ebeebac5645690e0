"""API keys: shown once, when they are made, and kept as hashes in the artifact store, which all web servers share and which
FLUSHALL does not reach (docs/adr/0013).

Beside them there are the keys of TOPCLIP_API_KEYS and TOPCLIP_METRICS_KEY. Knows no HTTP.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from topclip.config import Settings
from topclip.errors import FAULTS, ArtifactMissing, ConfigError, InvalidRequest, StorageError, StorageUnavailable
from topclip.model.key import ApiKey, KeyName
from topclip.storage.base import ArtifactStore

log = logging.getLogger(__name__)

FOLDER = "keys"
SUFFIX = ".json"
ASKED = f"{FOLDER}/asked"
"""Says that there was a key: once the last one is revoked the doors are shut, not open."""
COOKIE_SECRET = f"{FOLDER}/cookie-secret"
SIGN = "topclip_"
"""How a key begins, so that people and scanners for leaked secrets know it for what it is."""
LOOK_EVERY_S = 2.0
"""A key that is made or revoked counts after this time on every web server."""

_names = TypeAdapter(KeyName)


class KeyStore:
    """The keys in the artifact store, an object each. Raises: StorageError."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._seen: dict[str, ApiKey] = {}

    def add(self, name: str, owner: str, *, is_admin: bool = False, is_for_metrics: bool = False) -> str:
        """Make a key; it is not to be had again. Raises: InvalidRequest for a bad name, one that is taken,
        or roles that exclude each other.
        """
        for field, value in (("name", name), ("owner", owner)):
            _check_name(field, value)
        if is_for_metrics and (is_admin or owner != name):
            hint = "such a key is nobody's and no admin's; make two keys"
            raise InvalidRequest("a key for metrics alone sees no jobs", {"field": "metrics", "hint": hint})
        text = SIGN + secrets.token_urlsafe(32)
        roles = {"is_admin": is_admin, "is_for_metrics": is_for_metrics}
        key = ApiKey(name=name, owner=owner, **roles, sha256=_sha256(text), created_at=datetime.now(UTC))
        self._put(ASKED, b"")
        if not self._put(_place(name), key.model_dump_json().encode()):
            hint = "revoke it first, or name another; --owner lets several keys stand for one owner"
            raise InvalidRequest(f"there is a key {name} already", {"field": "name", "hint": hint})
        return text

    def revoke(self, name: str) -> None:
        """Make a key worthless. Raises: InvalidRequest if there is none of that name."""
        _check_name("name", name)
        if not self._store.exists(_place(name)):
            hint = "`topclip keys list` names them; those of TOPCLIP_API_KEYS are taken away there"
            raise InvalidRequest(f"there is no key {name} in the store", {"field": "name", "hint": hint})
        self._store.delete(_place(name))

    def all(self) -> list[ApiKey]:
        """All keys, by name. One that cannot be read is as it was last seen, or opens nothing; the log says so."""
        places = [place for place in self._store.list(FOLDER) if place.endswith(SUFFIX)]
        return [key for place in places if (key := self._read(place))]

    @property
    def is_asked(self) -> bool:
        """Whether there is a key, or was one."""
        return self._store.exists(ASKED)

    def cookie_secret(self) -> bytes:
        """What signs the cookies of all web servers on this store; made by the first that asks."""
        if not self._store.exists(COOKIE_SECRET):
            self._put(COOKIE_SECRET, secrets.token_bytes(32))
        return self._store.get_bytes(COOKIE_SECRET)

    def _read(self, place: str) -> ApiKey | None:
        try:
            self._seen[place] = ApiKey.model_validate_json(self._store.get_bytes(place))
        except ArtifactMissing:
            self._seen.pop(place, None)  # revoked just now
        except ValidationError:
            log.warning("%s in the store is no key and opens nothing", place)
            self._seen.pop(place, None)
        except StorageError as err:
            what_then = "goes on as it was" if place in self._seen else "opens nothing"
            log.warning("%s in the store cannot be read and %s: %s", place, what_then, err)
        return self._seen.get(place)

    def _put(self, place: str, content: bytes) -> bool:
        """Put an object that its user alone can read: the server's, where root makes it for him."""
        path = self._store.staging() / f"key-{uuid4().hex}"
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            if os.geteuid() == 0:
                folder = path.parent.stat()
                os.chown(path, folder.st_uid, folder.st_gid)
        except OSError as err:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise StorageError(f"the key cannot be written to the store: {err.strerror}") from err
        return self._store.put_file(place, path)


class KeyRing:
    """The keys that open now: those of the settings, and those of the store, looked at every two seconds.

    While the store does not answer the last known keys go on to open. Before its first answer those of the settings do, and
    nobody can say whether another is one, or whether a key is needed at all.
    """

    def __init__(self, settings: Settings, store: ArtifactStore) -> None:
        """Raises: ConfigError if the settings' keys are malformed."""
        self._settings, self._store = settings, KeyStore(store)
        self._given = tuple(_given(settings))
        self._known: tuple[tuple[str, ApiKey], ...] = self._given
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        self.is_known = False
        self.is_asked = False
        self.cookie_secret: bytes | None = None
        try:
            self.refresh()
        except StorageError as err:
            log.warning("API keys cannot be looked up yet, none of the store's opens before that: %s", err)

    def start(self) -> None:
        """Begin to look. Call it after a fork, never before."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def refresh(self) -> None:
        """Look at the store. Raises: StorageError, and all stays as it was."""
        known = (*self._given, *((key.sha256, key) for key in self._store.all()))
        if not self.is_asked and (known or self._store.is_asked):
            self.cookie_secret = self._secret()
            self.is_asked = True  # for as long as the process lives
        self._known, self.is_known = known, True

    def check_known(self) -> None:
        """Whether the store was looked at. Raises: StorageUnavailable if it never was."""
        if not self.is_known:
            raise StorageUnavailable("the API keys cannot be looked up in the store yet")

    @property
    def is_empty(self) -> bool:
        """Whether no key opens more than /metrics."""
        return all(key.is_for_metrics for _, key in self._known)

    def find(self, text: str) -> ApiKey | None:
        """The key that this is, in the same time whichever it is or is not. Raises: StorageUnavailable, as check_known."""
        sha256 = _sha256(text)
        found = None
        for known, key in self._known:
            if hmac.compare_digest(known, sha256):
                found = key
        if not found:
            self.check_known()
        return found

    def named(self, fingerprint: str) -> ApiKey | None:
        """The key of a fingerprint, unless it was revoked."""
        return next((key for _, key in self._known if key.fingerprint == fingerprint), None)

    def _secret(self) -> bytes:
        secret = self._settings.secret_key.encode() or self._store.cookie_secret()
        return hashlib.sha256(b"sign-in" + secret).digest()  # Flower's cookies have another

    def _run(self) -> None:
        is_well = True
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self.refresh()
                is_well = True
            except FAULTS as err:  # whatever it was, a key that is revoked must not open for ever
                if is_well:
                    log.warning("API keys cannot be looked up, the last known ones count: %r", err)
                is_well = False


def given_keys(settings: Settings) -> list[ApiKey]:
    """The keys of TOPCLIP_API_KEYS and TOPCLIP_METRICS_KEY. Raises: ConfigError."""
    return list({key.name: key for _, key in _given(settings)}.values())


def _given(settings: Settings) -> Iterator[tuple[str, ApiKey]]:
    """The settings' keys by their hashes. Of `name:key` both the key and the whole open.

    A key without a name is an owner of its own, whom its hash names.
    """
    for text in settings.api_keys:
        name, colon, secret = text.partition(":")
        if not (colon and re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name)):
            name, secret = f"key-{_sha256(text)[:8]}", text
        if not secret:
            raise ConfigError(f"TOPCLIP_API_KEYS: there is no key after `{name}:`", {"field": "api_keys"})
        key = ApiKey(name=name, owner=name, sha256=_sha256(secret))
        yield key.sha256, key
        if secret != text:
            yield _sha256(text), key
    if text := settings.metrics_key:
        if any(text in (given, given.partition(":")[2]) for given in settings.api_keys):
            what = "TOPCLIP_METRICS_KEY is one of TOPCLIP_API_KEYS, which would open /metrics alone then"
            raise ConfigError(what, {"field": "metrics_key", "hint": "choose another"})
        yield _sha256(text), ApiKey(name="metrics", owner="metrics", is_for_metrics=True, sha256=_sha256(text))


def _check_name(field: str, value: str) -> None:
    try:
        _names.validate_python(value)
    except ValidationError as err:
        hint = "1 to 40 small letters, digits, `-` and `_`, of which the first is a letter or digit"
        raise InvalidRequest(f"{value!r} is no name", {"field": field, "hint": hint}) from err


def _place(name: str) -> str:
    return f"{FOLDER}/{name}{SUFFIX}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
