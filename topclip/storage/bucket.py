"""A bucket as one process reaches it: clients, names, and the server's errors as ours.

boto3 on purpose, and a client for each process: it starts no thread that a forked process would miss.
"""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from topclip.errors import (
    ArtifactDamaged,
    ArtifactMissing,
    ConfigError,
    StorageError,
    StorageFull,
    StorageUnavailable,
    TopClipError,
)
from topclip.storage.base import Tick

log = logging.getLogger(__name__)

TAKEN, CONFLICT = "PreconditionFailed", "ConditionalRequestConflict"
MISSING = ("404", "NoSuchKey", "NotFound")
NO_ROOM = ("507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
REFUSED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


@dataclass(frozen=True)
class Place:
    """Where a store lies, and how one gets there. Empty strings leave it to the AWS SDK's own ways."""

    bucket: str
    prefix: str = ""
    """Of all keys, without slashes at its ends."""
    endpoint: str = ""
    public_endpoint: str = ""
    """Where clients reach the same server; empty: they cannot."""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""

    @property
    def url(self) -> str:
        """As the settings name it."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class Patience(NamedTuple):
    """How long one request to the server may take before it counts as failed."""

    connect_s: float
    read_s: float
    tries: int


LONG = Patience(3, 20, 4)
SHORT = Patience(2, 3, 1)
"""Of what somebody waits for at the other end of an HTTP request, who can ask again."""


class _Stopped(BaseException):
    """Carries what a tick raised through boto3, which takes every Exception for the network's and sends again."""

    def __init__(self, reason: TopClipError) -> None:
        super().__init__(reason)
        self.reason = reason


class Body(io.BytesIO):
    """What is sent, with a tick for each of its pieces that goes out: a part may take minutes on a slow line."""

    def __init__(self, content: bytes, tick: Tick) -> None:
        super().__init__(content)
        self._tick = tick

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file."""
        try:
            self._tick()
        except TopClipError as err:
            raise _Stopped(err) from err  # said() raises it again
        return super().read(size)


class Bucket:
    """Raises: ArtifactMissing, ArtifactDamaged, StorageFull, StorageUnavailable, ConfigError."""

    def __init__(self, place: Place, patience: Patience) -> None:
        """patience: with questions, small objects, and each silence while one is read."""
        self.place, self._patience = place, patience
        self._clients: dict[tuple[int, str, Patience], Any] = {}

    @property
    def client(self) -> Any:
        """What asks the server, reads from it, and gives it what is small."""
        return self._client(self.place.endpoint, self._patience)

    @property
    def bulk_client(self) -> Any:
        """What puts the bytes of large objects."""
        return self._client(self.place.endpoint, LONG)

    @property
    def public_client(self) -> Any:
        """What signs URLs for those who reach the server by its public endpoint."""
        return self._client(self.place.public_endpoint, LONG)

    def at(self, key: str) -> dict[str, str]:
        """An object, as requests name it."""
        return {"Bucket": self.place.bucket, "Key": self.name(key)}

    def name(self, key: str) -> str:
        """The name that a key has in the bucket. Raises: StorageError if it is none."""
        if not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise StorageError(f"{key!r} is no artifact key", {"key": key})
        return f"{self.place.prefix}/{key}".lstrip("/")

    def _client(self, endpoint: str, patience: Patience) -> Any:
        """A client of this process: one that was forked has no use for its parent's connections."""
        mine = (os.getpid(), endpoint, patience)
        if mine not in self._clients:
            kept = {key: client for key, client in self._clients.items() if key[0] == mine[0]}
            self._clients = kept | {mine: self._connect(endpoint, patience)}
        return self._clients[mine]

    def _connect(self, endpoint: str, patience: Patience) -> Any:
        """Raises: ConfigError."""
        config = Config(
            signature_version="s3v4",
            connect_timeout=patience.connect_s,
            read_timeout=patience.read_s,
            retries={"mode": "standard", "total_max_attempts": patience.tries},
            # a server of one's own seldom has a name for each bucket
            s3={"addressing_style": "path"} if endpoint else {},
            max_pool_connections=64,
        )
        place = self.place
        try:
            return boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint or None,
                region_name=place.region or ("us-east-1" if endpoint else None),
                aws_access_key_id=place.access_key or None,
                aws_secret_access_key=place.secret_key or None,
                config=config,
            )
        except (BotoCoreError, ValueError) as err:
            raise ConfigError(f"the S3 settings are wrong: {err}", {"field": "s3_endpoint"}) from err

    @contextlib.contextmanager
    def said(self, what: str) -> Iterator[None]:
        """Errors of the server become ours. No object is taken for lost where its bucket is not there."""
        try:
            yield
        except _Stopped as stopped:
            raise stopped.reason from None
        except ClientError as err:
            raise self._error(what, err) from err
        except FlexibleChecksumError as err:
            raise damaged(what) from err
        except BotoCoreError as err:
            log.warning("%s: %s", what, err)  # it names the server, which is nothing for a job's error that clients see
            hint = "is the server up, and are TOPCLIP_S3_ENDPOINT and the keys right?"
            text = f"the store failed at {what}: {type(err).__name__}"
            raise StorageUnavailable(text, {"key": what, "hint": hint}) from err

    def _error(self, what: str, err: ClientError) -> StorageError:
        code = code_of(err)
        if code in MISSING and what != self.place.url:
            with self.said(self.place.url):
                self.client.head_bucket(Bucket=self.place.bucket)
            return self._not_found(what)
        if code in NO_ROOM:
            return StorageFull(
                f"no room left in the store for {what}", {"key": what, "hint": "free some room in the bucket"}
            )
        hint = None
        if code in (*MISSING, "NoSuchBucket"):
            hint = f"make the bucket {self.place.bucket}, or mend TOPCLIP_STORE"
        elif code in REFUSED:
            hint = (
                "mend TOPCLIP_S3_ACCESS_KEY and TOPCLIP_S3_SECRET_KEY, or what they may do (read, write, list, delete)"
            )
        text = err.response.get("Error", {}).get("Message") or code
        return StorageUnavailable(f"the store failed at {what}: {text}", {"key": what, "hint": hint})

    def _not_found(self, what: str) -> StorageError:
        """Why an object was not found in a bucket that is there now.

        Raises: StorageUnavailable, by no word of the server's, if it is there by now: another has just put it, or the bucket
        came back.
        """
        try:
            self.client.head_object(**self.at(what))
        except ClientError as err:
            if code_of(err) in MISSING:
                return ArtifactMissing(f"no artifact {what}", {"key": what})
            return self._error(what, err)
        except BotoCoreError as err:
            log.warning("%s: %s", what, err)
        raise StorageUnavailable(f"the store was away for a moment at {what}", {"key": what}) from None


def damaged(key: str) -> ArtifactDamaged:
    """What to say of an object whose checksum is another one than when it was put there."""
    hint = (
        "the bucket gives back something else than was put there: restore it from a backup, or submit the source anew"
    )
    return ArtifactDamaged(f"{key} is damaged in the store", {"key": key, "hint": hint})


def is_final(err: StorageUnavailable) -> bool:
    """Whether the server itself said that there is no such bucket, or not for this key: waiting mends neither."""
    cause = err.__cause__
    return isinstance(cause, ClientError) and code_of(cause) in (*MISSING, "NoSuchBucket", *REFUSED)


def code_of(err: ClientError) -> str:
    """The server's word for what is wrong."""
    code = str(err.response.get("Error", {}).get("Code", ""))
    return TAKEN if code == "412" else code
