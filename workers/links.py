"""How processes reach Redis: plain clients and Celery applications, in two profiles.

A worker rides out an outage of an hour; the web answers within a second whatever Redis does.
Source of the figures: measured with Redis refusing and frozen, Celery and kombu 5.7, redis-py 8.1 (docs/adr/0004).
"""

import os
import re
import ssl
from collections import UserDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from topclip import errors
from topclip.config import Settings
from workers.patience import hurry, hurry_kombu, hurry_sentinels

FAULTS = (*errors.FAULTS, RedisError, OperationalError)
"""What a round of a worker's thread, or of the watch, may die of; the next one is made all the same."""
MAX_CONNECTIONS = 1024
"""Of one client; it opens as many as threads ask at once. redis-py's own bound of 100 is below the web's threads."""
MAX_PUBLISHERS = 64
"""Connections that a web process publishes by at once."""


@dataclass(frozen=True)
class Profile:
    """Patience of one kind of process, in seconds."""

    connect_timeout_s: float
    timeout_s: float
    patient: bool


WEB = Profile(connect_timeout_s=0.25, timeout_s=0.4, patient=False)
WORKER = Profile(connect_timeout_s=3.0, timeout_s=10.0, patient=True)
KEEPER = Profile(connect_timeout_s=1.0, timeout_s=2.0, patient=False)


class Sentinels(Sentinel):  # type: ignore[misc]  # redis-py's is untyped
    """Those of Sentinel. One that does not answer is told by host and port, not by all that its client is made of."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master."""
        try:
            found: tuple[str, int] = super().discover_master(service_name)
        except MasterNotFoundError as err:
            said = re.sub(r"<redis\.client\.Redis\(.*?\bhost=([^,]+),port=(\d+).*?\)>\)>\)>", r"\1:\2", str(err))
            raise MasterNotFoundError(said) from None
        return found


def redis_client(settings: Settings, profile: Profile) -> Redis:
    """A plain client with text replies. It never retries by itself: whoever calls knows what a failure means."""
    options: dict[str, Any] = {
        "socket_connect_timeout": profile.connect_timeout_s,
        "socket_timeout": profile.timeout_s,
        "socket_keepalive": True,
        "decode_responses": True,
        "encoding_errors": "backslashreplace",  # of what is none of ours, such as odd bytes in a queue
        "max_connections": MAX_CONNECTIONS,
        "retry": Retry(NoBackoff(), 0),
    }
    url = settings.redis_url
    if url.startswith("sentinel://"):
        nodes = [urlsplit(u) for u in url.split(";")]
        hosts = [(n.hostname or "localhost", n.port or 26379) for n in nodes]
        db = int(nodes[0].path.strip("/") or 0)
        sentinel = Sentinels(hosts, sentinel_kwargs=sentinel_options(settings, profile), **options)
        hurry_sentinels(sentinel)
        user = {"username": _plain(nodes[0].username), "password": _plain(nodes[0].password)}
        return hurry(sentinel.master_for(settings.redis_master, db=db, **user, **options))
    if url.startswith("redis+socket://"):
        url = "unix://" + url.removeprefix("redis+socket://").replace("virtual_host=", "db=")
        options.pop("socket_keepalive")
    if url.startswith("rediss://"):
        options |= tls_options(settings)
    return hurry(Redis.from_url(url, **options))


def sentinels_of(client: Redis) -> dict[str, Redis]:
    """Clients of the sentinels that a client asks, by host and port; none where there is no Sentinel."""
    pool = client.connection_pool
    nodes = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ()
    asked = {tuple(node.connection_pool.connection_kwargs[name] for name in ("host", "port")): node for node in nodes}
    return {f"{host}:{port}": node for (host, port), node in sorted(asked.items())}


class Untold(UserDict[str, Any]):
    """Options with a password, or with what no message can hold: Celery tells its settings to whoever asks a worker."""

    def __json__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return "..."


def sentinel_options(settings: Settings, profile: Profile) -> Untold:
    """How the sentinels themselves are asked: as patiently as Redis is, each once, and with the password that is theirs."""
    options: dict[str, Any] = {
        "socket_connect_timeout": profile.connect_timeout_s,
        "socket_timeout": profile.timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),  # redis-py's own asks one that is away eleven times, with pauses between
    }
    if settings.sentinel_password:
        options |= {"username": settings.sentinel_user or None, "password": settings.sentinel_password}
    return Untold(options)


def _plain(text: str | None) -> str | None:
    """A user or a password as it is, not as a URL has it."""
    return unquote(text) if text else None


def tls_options(settings: Settings) -> dict[str, Any]:
    """How a `rediss://` server proves who it is: by a certificate for its name, always."""
    options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    if settings.redis_ca:
        options["ssl_ca_certs"] = str(settings.redis_ca.absolute())
    return options


def redis_now(redis: Redis) -> float:
    """Redis' own time, seconds since 1970: the clocks of hosts differ, this one is everybody's. Raises: RedisError."""
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1e6)


def make_app(settings: Settings, profile: Profile, name: str = "topclip") -> Celery:
    """A Celery application. It knows tasks by name only until somebody imports them."""
    hurry_kombu()
    app = Celery(name, set_as_current=profile.patient)
    app.config_from_object("celeryconfig", force=True)
    app.conf.update(connection_settings(settings, profile))
    return app


def connection_settings(settings: Settings, profile: Profile) -> dict[str, Any]:
    """The Celery settings that depend on where Redis is and on how long the process may wait for it."""
    backend = "SentinelBackend" if settings.redis_url.startswith("sentinel://") else "Backend"
    transport = {
        "visibility_timeout": settings.lease_s,  # the lease: LeasedQoS renews it
        "unacked_restore_interval": 1,  # a sweep each second; the defaults make it one in 100 s
        "unacked_restore_throttle": 1,
        "global_keyprefix": settings.key_prefix,
        "socket_timeout": profile.timeout_s,
        "socket_connect_timeout": profile.connect_timeout_s,
        "socket_keepalive": not settings.redis_url.startswith("redis+socket"),
        "retry_on_timeout": False,
        "health_check_interval": 10,
        "queue_order_strategy": "round_robin",
        "priority_steps": [0],
        "master_name": settings.redis_master,
    }
    conf: dict[str, Any] = {
        "broker_url": settings.redis_url,
        "result_backend": f"workers.backend.{backend}+{settings.redis_url}",
        "result_expires": settings.retention_s,
        "worker_concurrency": settings.concurrency or os.cpu_count(),
        "redis_socket_timeout": profile.timeout_s,
        "redis_socket_connect_timeout": profile.connect_timeout_s,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 10,
        "broker_transport_options": transport,
        "result_backend_transport_options": {
            "global_keyprefix": settings.key_prefix,
            "master_name": settings.redis_master,
        },
    }
    if settings.redis_url.startswith("sentinel://"):
        for options in (transport, conf["result_backend_transport_options"]):
            options["sentinel_kwargs"] = sentinel_options(settings, profile)
    if settings.redis_url.startswith("rediss://"):
        conf["broker_use_ssl"] = conf["redis_backend_use_ssl"] = tls_options(settings)
    if not profile.patient:
        quick = {"max_retries": 0, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
        transport |= {**quick, "connect_retries_timeout": profile.timeout_s}
        conf |= {
            "task_publish_retry": False,
            "broker_connection_timeout": profile.connect_timeout_s,
            "broker_pool_limit": MAX_PUBLISHERS,
            "broker_pool_acquire_timeout": profile.timeout_s,
            "result_backend_always_retry": False,
            "task_send_sent_event": True,
        }
        conf["result_backend_transport_options"]["retry_policy"] = {**quick, "interval_step": 0}
    return conf
