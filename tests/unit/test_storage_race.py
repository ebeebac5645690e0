"""Several who begin to use one bucket at the same time."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.test_storage_s3 import MakeStore, make_store
from topclip.storage.s3 import PROBE

__all__ = ["make_store"]


def test_what_another_has_just_put_makes_no_wrong_bucket(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    store.put_bytes(PROBE, b"")
    client = store._bucket.client
    asked, head = [], client.head_object

    def not_yet(**names: Any) -> Any:
        asked.append(names)
        if len(asked) == 1:
            raise ClientError({"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject")
        return head(**names)

    monkeypatch.setattr(client, "head_object", not_yet)
    store.check()
    assert len(asked) == 2
