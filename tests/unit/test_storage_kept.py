"""What a bucket does not let go of, and what it only seems to lack."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3 import S3Container
from topclip.config import Settings
from topclip.errors import ArtifactMissing, NotRemoved, StorageUnavailable
from topclip.storage.factory import store_for
from topclip.storage.s3 import S3Store


def test_objects_that_the_bucket_keeps_are_those_of_one_job(
    s3: S3Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a legal hold, which the server here does not know."""
    store = store_for(Settings(data_dir=tmp_path, **s3.settings))
    assert isinstance(store, S3Store)
    store.put_bytes("jobs/a/source.mp4", b"x")
    answers: list[Any] = [
        {"Errors": [{"Key": "jobs/a/source.mp4", "Code": "AccessDenied", "Message": "Object is locked"}]},
        ClientError({"Error": {"Code": "InternalError", "Message": "it is another user's"}}, "DeleteObjects"),
    ]

    def deletes(**asked: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    store.refuse_kept("jobs/a")  # the bucket as it is
    store.refuse_kept("jobs/none")
    monkeypatch.setattr(store._s3, "delete_objects", deletes)
    for said, ask in (("Object is locked", store.refuse_kept), ("another user's", store.delete)):
        with pytest.raises(NotRemoved, match=said):
            ask("jobs/a")
    assert store.exists("jobs/a/source.mp4")
    s3.kill()
    answers.append(ClientError({"Error": {"Code": "InternalError"}}, "DeleteObjects"))
    with pytest.raises(StorageUnavailable):
        store.delete("jobs/a")


def test_what_is_there_again_was_never_missing(
    s3: S3Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the bucket comes back between the answer and the question whether it is there."""
    store = store_for(Settings(data_dir=tmp_path, **s3.settings))
    assert isinstance(store, S3Store)
    store.put_bytes("jobs/b/record.json", b"{}")

    def away(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")

    monkeypatch.setattr(store._s3, "get_object", away)
    with pytest.raises(StorageUnavailable, match="away for a moment"):
        store.get_bytes("jobs/b/record.json")
    with pytest.raises(ArtifactMissing):
        store.get_bytes("jobs/b/other.json")
