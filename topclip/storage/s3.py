"""The artifact store in an S3 bucket, for workers that share no disk.

An object is created by a conditional write (`If-None-Match: *`), which fails if its name is taken, as a hard link does in a
folder: one request for a small one, the completion of a multipart upload for a large one. Each part travels with its SHA-256,
and a whole file is checked against its own when it is read again. Must know nothing of jobs or media.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from topclip.errors import ArtifactDamaged, ArtifactMissing, ConfigError, NotRemoved, StorageUnavailable
from topclip.storage.base import Tick, add_size, no_tick, translated
from topclip.storage.bucket import CONFLICT, LONG, TAKEN, Body, Bucket, Patience, Place, code_of, damaged, is_final
from topclip.storage.cache import FileCache
from topclip.storage.staging import Staging

log = logging.getLogger(__name__)

PROBE = "probes/put"
BLOCK_BYTES = 1 << 20
PART_BYTES = 16 << 20
MAX_PARTS = 10_000
AT_ONCE = 1000
"""Objects that one request may delete."""
URL_KEPT_S = 3600
UPLOADS_SWEPT_EVERY_S = 3600.0
UPLOADS_KEPT_S = 24 * 3600.0
"""How old an upload must be at least to be taken for one of a killed process: nothing tells a slow one from it."""
NOTHING = "no-such-object"
KEPT_HINT = "is it locked in the bucket (object lock, legal hold, a policy), or may the key not delete?"
CONFLICTS = 5
"""How often a write that met another one of the same name is tried again."""


class S3Store(Staging):
    """An ArtifactStore in a bucket, or below a prefix of one."""

    def __init__(self, place: Place, scratch: Path, cache_bytes: int, patience: Patience = LONG) -> None:
        """scratch: a local folder for files in the making, and for copies of objects, of cache_bytes at most.
        patience: with all but the putting of large objects.
        """
        super().__init__(scratch / "staging")
        self._place, self._bucket = place, Bucket(place, patience)
        self._cache = FileCache(scratch / "cache", cache_bytes)
        self._damaged: dict[str, object] = {}
        self._uploads_swept_at = -UPLOADS_SWEPT_EVERY_S

    def check(self) -> None:
        """See ArtifactStore: the server must let us in, and heed conditional writes of both kinds. One that is away now is not
        refused.
        """
        try:
            self.exists(PROBE)  # of which one hears sooner that the server is away
            overwrites = self._overwrites()
        except StorageUnavailable as err:
            if is_final(err):
                raise ConfigError(f"{self._place.url}: {err.message}", {"field": "store", "hint": err.hint}) from err
            log.warning("%s cannot be checked now: %s%s", self._place.url, err, f"; {err.hint}" if err.hint else "")
            return
        if overwrites:
            hint = "AWS, MinIO since 2024 and others refuse a write with `If-None-Match: *` to a name that is taken"
            raise ConfigError(
                f"the server of {self._place.url} overwrites objects where it must not",
                {"field": "store", "hint": hint},
            )

    def put_bytes(self, key: str, content: bytes) -> bool:
        """See ArtifactStore."""
        return self._create(key, content)

    def put_file(self, key: str, path: Path, tick: Tick = no_tick) -> bool:
        """See ArtifactStore."""
        try:
            with translated(key):
                size = path.stat().st_size
                if size <= PART_BYTES:
                    return self._create(key, path.read_bytes(), tick)
                if self.exists(key):
                    return False
                part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
                return self._create_large(key, _blocks(path, part_bytes, tick), _sha256(path, tick), tick)
        finally:
            path.unlink(missing_ok=True)

    def get_bytes(self, key: str) -> bytes:
        """See ArtifactStore."""
        return b"".join(self._blocks(key))

    def exists(self, key: str) -> bool:
        """See ArtifactStore."""
        try:
            self._head(key)
        except ArtifactMissing:
            return False
        return True

    def size(self, key: str) -> int:
        """See ArtifactStore."""
        return int(self._head(key)["ContentLength"])

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. A range beyond the object's end is cut to what there is."""
        if end is not None and end <= start:
            return
        asked = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        yield from self._blocks(key, **asked)

    @contextlib.contextmanager
    def local_path(self, key: str, tick: Tick = no_tick) -> Iterator[Path]:
        """See ArtifactStore: a copy, which processes of this machine share."""
        found = self._head(key)
        name = f"{self._place.url}/{key}/{found['ETag']}/{found['ContentLength']}"

        def fetch(path: Path) -> None:
            self._fetch(key, path, tick)

        with self._cache.use(name, found["ContentLength"], PurePosixPath(key).suffix, fetch, tick) as path:
            yield path

    def download_url(self, key: str, disposition: str, media_type: str) -> str | None:
        """See ArtifactStore: signed, for an hour, where clients can reach the server."""
        if not self._place.public_endpoint:
            return None
        shown = {"ResponseContentDisposition": disposition, "ResponseContentType": media_type}
        client = self._bucket.public_client
        url: str = client.generate_presigned_url(
            "get_object", Params={**self._bucket.at(key), **shown}, ExpiresIn=URL_KEPT_S
        )
        return url

    def folders(self, prefix: str) -> list[str]:
        """See ArtifactStore."""
        below = self._bucket.name(prefix) + "/"
        pages = self._pages(prefix, "list_objects_v2", Prefix=below, Delimiter="/")
        found = [common["Prefix"] for page in pages for common in page.get("CommonPrefixes", [])]
        return sorted(name.removeprefix(below).rstrip("/") for name in found)

    def list(self, prefix: str) -> list[str]:
        """See ArtifactStore."""
        root = f"{self._place.prefix}/".lstrip("/")
        pages = self._pages(prefix, "list_objects_v2", Prefix=f"{self._bucket.name(prefix)}/" if prefix else root)
        return sorted(found["Key"].removeprefix(root) for page in pages for found in page.get("Contents", []))

    def sizes(self) -> dict[str, int]:
        """See ArtifactStore."""
        root, sizes = f"{self._place.prefix}/".lstrip("/"), dict[str, int]()
        for page in self._pages("", "list_objects_v2", Prefix=root):
            for found in page.get("Contents", []):
                add_size(sizes, found["Key"].removeprefix(root), int(found["Size"]))
        return sizes

    def delete(self, prefix: str) -> None:
        """See ArtifactStore."""
        name = self._bucket.name(prefix)
        self._damaged = {key: seen for key, seen in self._damaged.items() if not f"{key}/".startswith(f"{prefix}/")}
        pages = self._pages(prefix, "list_objects_v2", Prefix=name)
        found = [one["Key"] for page in pages for one in page.get("Contents", [])]
        doomed = [one for one in found if one == name or one.startswith(name + "/")]
        for i in range(0, len(doomed), AT_ONCE):
            batch = {"Objects": [{"Key": one} for one in doomed[i : i + AT_ONCE]], "Quiet": True}
            with self._bucket.said(prefix):
                errors = self._refused(batch)
            _refuse_errors(prefix, errors)

    def _refused(self, batch: dict[str, Any]) -> tuple[dict[str, str], ...]:
        """Delete objects; what is said of those that stay. Raises: ClientError if the bucket is at fault, not they."""
        try:
            answer: dict[str, Any] = self._s3.delete_objects(Bucket=self._place.bucket, Delete=batch)
        except ClientError as err:
            self._s3.head_bucket(Bucket=self._place.bucket)
            return (err.response.get("Error", {}),)
        return tuple(answer.get("Errors", ()))

    def refuse_kept(self, prefix: str) -> None:
        """See ArtifactStore. Who may not delete hears so also of what is not there; a lock on one object is not told before."""
        with self._bucket.said(prefix):
            errors = self._refused({"Objects": [{"Key": f"{self._bucket.name(prefix)}/{NOTHING}"}], "Quiet": True})
        _refuse_errors(prefix, errors)

    def sweep(self, older_than_s: float) -> int:
        """See ArtifactStore: in staging, among the copies, and uploads that were not completed within a day."""
        n_swept = super().sweep(older_than_s) + self._cache.sweep(older_than_s)
        if time.monotonic() - self._uploads_swept_at < UPLOADS_SWEPT_EVERY_S:
            return n_swept
        self._uploads_swept_at = time.monotonic()
        with self._bucket.said(self._place.url):
            return n_swept + self._abort_uploads(
                datetime.now(UTC) - timedelta(seconds=max(older_than_s, UPLOADS_KEPT_S))
            )

    def free_bytes(self) -> int | None:
        """See ArtifactStore: a bucket has no end, the disk of staging has."""
        with translated(""):
            return shutil.disk_usage(self.staging()).free

    def _blocks(self, key: str, **asked: str) -> Iterator[bytes]:
        """An object, or a part of it. One that was found damaged gives no part either: who resumes would not notice."""
        seen: object = None
        try:
            with self._bucket.said(key):
                try:
                    answer = self._s3.get_object(**self._bucket.at(key), **asked)
                except ClientError as err:
                    if code_of(err) == "InvalidRange":
                        return
                    raise
                seen = (answer.get("ETag"), answer.get("LastModified"))
                if self._damaged.get(key) == seen:
                    raise damaged(key)
                is_whole = not asked or answer.get("ContentRange", "").endswith(f"/{answer['ContentLength']}")
                sha256 = answer.get("Metadata", {}).get("sha256", "") if is_whole else ""
                with contextlib.closing(answer["Body"]) as body:
                    yield from _held_back(_checked(key, body.iter_chunks(BLOCK_BYTES), sha256))
        except ArtifactDamaged:
            self._damaged[key] = seen
            raise

    def _overwrites(self) -> bool:
        """Whether a name can be taken twice, by either kind of write."""
        small = all(self._create(PROBE, b"") for _ in range(2))
        return small or all(self._create_large(f"{PROBE}-large", iter([b""]), "") for _ in range(2))

    def _create(self, key: str, content: bytes, tick: Tick = no_tick) -> bool:
        mark = os.urandom(8).hex()
        terms = {"IfNoneMatch": "*", "ChecksumSHA256": _checksum(content)}
        metadata = {"sha256": hashlib.sha256(content).hexdigest(), "mark": mark}
        for attempt in range(CONFLICTS):
            body = content if tick is no_tick else Body(content, tick)
            with self._bucket.said(key):
                try:
                    self._s3.put_object(**self._bucket.at(key), Body=body, Metadata=metadata, **terms)
                except ClientError as err:
                    if code_of(err) == CONFLICT and attempt < CONFLICTS - 1:
                        time.sleep(0.1 * 2**attempt)
                        continue
                    if code_of(err) != TAKEN:
                        raise
                    return self._is_marked(key, mark)
            return True
        return False

    def _create_large(self, key: str, blocks: Iterator[bytes], sha256: str, tick: Tick = no_tick) -> bool:
        mark = os.urandom(8).hex()
        metadata = {"sha256": sha256, "mark": mark}
        with self._bucket.said(key):
            started = self._bucket.bulk_client.create_multipart_upload(
                **self._bucket.at(key), ChecksumAlgorithm="SHA256", Metadata=metadata
            )
            upload = {**self._bucket.at(key), "UploadId": started["UploadId"]}
            is_whole = False
            try:
                parts = [self._part(upload, n, block, tick) for n, block in enumerate(blocks, 1)]
                is_whole = self._complete(key, mark, upload, parts)
            finally:
                if not is_whole:
                    with contextlib.suppress(ClientError, BotoCoreError):  # else the sweep does
                        self._bucket.bulk_client.abort_multipart_upload(**upload)
        return is_whole

    def _complete(self, key: str, mark: str, upload: dict[str, str], parts: Sequence[dict[str, Any]]) -> bool:
        """Whether the parts became the object. What the server says to a second request, once the first answer was lost, is
        up to the server: only the object tells.
        """
        try:
            self._bucket.bulk_client.complete_multipart_upload(
                **upload, IfNoneMatch="*", MultipartUpload={"Parts": parts}
            )
        except (ClientError, BotoCoreError):
            with contextlib.suppress(ArtifactMissing):
                return self._is_marked(key, mark)
            raise
        return True

    def _part(self, upload: dict[str, str], n: int, block: bytes, tick: Tick) -> dict[str, Any]:
        checksum = _checksum(block)
        answer = self._bucket.bulk_client.upload_part(
            **upload, PartNumber=n, Body=Body(block, tick), ChecksumSHA256=checksum
        )
        return {"PartNumber": n, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _is_marked(self, key: str, mark: str) -> bool:
        """Whether what lies there is ours after all: a request that is sent again meets its own first attempt."""
        return bool(self._head(key).get("Metadata", {}).get("mark") == mark)

    def _fetch(self, key: str, path: Path, tick: Tick) -> None:
        with path.open("xb") as file:
            for block in self.read(key):
                file.write(block)
                tick()

    def _head(self, key: str) -> dict[str, Any]:
        with self._bucket.said(key):
            try:
                found: dict[str, Any] = self._s3.head_object(**self._bucket.at(key))
            except ClientError as err:
                # A server that refuses an object before reading it may take its rest for the next request, and hang up.
                if err.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.BAD_REQUEST:
                    raise
                found = self._s3.head_object(**self._bucket.at(key))
        return found

    def _pages(self, what: str, operation: str, **asked: str) -> Iterator[dict[str, Any]]:
        with self._bucket.said(what or self._place.url):
            yield from self._s3.get_paginator(operation).paginate(Bucket=self._place.bucket, **asked)

    def _abort_uploads(self, before: datetime) -> int:
        """What a killed process left half-sent. A server that cannot list such uploads has its own ways to drop them."""
        left = []
        try:
            for page in self._s3.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._place.bucket, Prefix=f"{self._place.prefix}/".lstrip("/")
            ):
                left += [upload for upload in page.get("Uploads", []) if upload["Initiated"] < before]
            for upload in left:
                self._s3.abort_multipart_upload(
                    Bucket=self._place.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        except ClientError as err:
            if code_of(err) not in ("NotImplemented", "NoSuchUpload"):
                raise
        return len(left)

    @property
    def _s3(self) -> Any:
        return self._bucket.client


def _checksum(content: bytes) -> str:
    return b64encode(hashlib.sha256(content).digest()).decode()


def _sha256(path: Path, tick: Tick) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path, BLOCK_BYTES, tick):
        digest.update(block)
    return digest.hexdigest()


def _checked(key: str, blocks: Iterator[bytes], sha256: str) -> Iterator[bytes]:
    """The blocks of a whole object. sha256: of what was put there, if known. Raises: ArtifactDamaged behind the last."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        yield block
    if sha256 and digest.hexdigest() != sha256:
        raise damaged(key)


def _held_back(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, the last of them only once all were read: then the checksum is known, and what is damaged is not whole."""
    held = next(blocks, None)
    for block in blocks:
        assert held is not None
        yield held
        held = block
    if held is not None:
        yield held


def _blocks(path: Path, n_bytes: int, tick: Tick) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(n_bytes):
            yield block
            tick()


def _refuse_errors(prefix: str, errors: tuple[dict[str, str], ...]) -> None:
    """Raises: NotRemoved if the server has said that something stays."""
    if errors:
        text = f"the store keeps {errors[0].get('Key', prefix)}: {errors[0].get('Message')}"
        raise NotRemoved(text, {"key": prefix, "hint": KEPT_HINT})
