"""Signatures by the Standard Webhooks scheme. Pure.

Source: the specification at github.com/standard-webhooks/standard-webhooks, version 1 signatures (HMAC-SHA256).
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from topclip.config import SECRET_MARK

SCHEME: Final = "v1"


def signed_headers(secrets: Sequence[str], event_id: str, sent_at: int, body: bytes) -> dict[str, str]:
    """The headers that prove a body. sent_at: seconds since 1970. More than one secret: a receiver needs to know but one."""
    content = b".".join((event_id.encode(), str(sent_at).encode(), body))
    signatures = " ".join(f"{SCHEME},{_signature(secret, content)}" for secret in secrets)
    return {"webhook-id": event_id, "webhook-timestamp": str(sent_at), "webhook-signature": signatures}


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_MARK))
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
