"""What can be wrong with Redis and the workers, over every kind of link and also for a user who may not ask for everything."""

import contextlib
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from stack.findings import Check, Diagnosis, Grade
from stack.redis_server import binary
from topclip.config import Settings
from topclip.errors import ConfigError, StorageError
from topclip.redis_url import CLUSTER_HINT
from topclip.storage.factory import store_for
from topclip.storage.mark import known_mark
from web.doors import is_loopback
from workers import names
from workers.budget import StoreUse
from workers.cluster import is_cluster
from workers.health import report
from workers.links import KEEPER, redis_client, redis_now, sentinels_of
from workers.one_store import HINT, is_another, is_unmounted

MIN_REDIS: Final = (6, 2)
"""It brought `ZRANGE ... BYSCORE`, which our scripts and lists use."""
HIGH_MEMORY = 0.8
FULL_MEMORY = 0.95
LITTLE_MEMORY_BYTES = 64 << 20
"""An empty Redis with a few thousand jobs is well below; with less a burst of submissions fills it."""
SKEW_S = 2.0
"""Leases go by Redis' clock, so that a skew costs no job; times in documents and logs are wrong by it."""
BAD_SKEW_S = 300.0
"""Receivers of callbacks refuse signatures that are older than five minutes (Standard Webhooks)."""
PERMISSIONS = (
    "give the user what deploy/redis/users.acl has for it; `redis-cli ACL LOG` on the server shows what was denied"
)
CAUSES: Final = (
    (
        r"No master found.*AuthenticationError",
        "the sentinels themselves ask for a password: TOPCLIP_SENTINEL_PASSWORD, with a user of theirs TOPCLIP_SENTINEL_USER",
    ),
    (
        r"No master found.*NoSentinel",
        "what answers there is no sentinel, those listen on port 26379 as a rule: mend the hosts and ports in REDIS_URL",
    ),
    (
        r"No master found.*(ConnectionError|TimeoutError)",
        "sentinels that do not answer: are they up, and REDIS_URL's hosts and ports theirs? Of those that do,"
        " `SENTINEL masters` tells the name that TOPCLIP_REDIS_MASTER is to be",
    ),
    (
        r"NOAUTH|Authentication required|already authenticated",
        "put the password into REDIS_URL: redis://default:password@host:6379/0",
    ),
    (
        r"WRONGPASS|invalid username-password|without any password configured|AUTH",
        "mend user and password in REDIS_URL; characters such as @ / : # are percent-encoded",
    ),
    (r"(?i)\bloading\b", "wait: Redis still loads its data, and answers once it has"),
    (r"protected mode", "give Redis a password (`requirepass`, or a user by ACL), and put it into REDIS_URL"),
    (r"No master found", "TOPCLIP_REDIS_MASTER is the name of the master that the sentinels know: `SENTINEL masters`"),
    (
        r"certificate has expired|certificate is not yet valid",
        "Redis' certificate is out of date: have a new one signed by the same authority, and restart Redis",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "TOPCLIP_REDIS_CA names the certificates to check against; the URL has the name in it",
    ),
    (r"WRONG_VERSION_NUMBER|record layer", "that port speaks no TLS: use redis://, or the server's tls-port"),
    (r"Connection closed by server|Connection reset", "does that port ask for TLS? Then use rediss://"),
    (
        r"max number of clients",
        "raise its `maxclients`, and the files that it may open; `redis-cli CLIENT LIST` on the server shows who holds them",
    ),
    (r"DB index|invalid DB", "the number at the end of REDIS_URL is beyond the server's `databases`"),
    (r"Name or service not known|nodename nor|name resolution|No address", "no such host: mend its name in REDIS_URL"),
    (r"(?i)invalid.*response|protocol error", "what listens there is no Redis: mend host and port in REDIS_URL"),
    (
        r"[Tt]imed? ?out|Timeout",
        "nothing answers as it should: look at firewall and address, whether Redis hangs, and whether that port speaks TLS",
    ),
)
"""What an error says, and what to do about it."""


def check_redis(settings: Settings, *, is_embedded: bool) -> Diagnosis:
    """Ask Redis for all that it tells our user. is_embedded: whether it is the server of a `topclip up`."""
    try:
        with redis_client(settings, KEEPER) as redis:
            redis.ping()
            return Diagnosis(tuple(_checks(settings, redis, is_embedded)), has_redis=True)
    except NoPermissionError as err:
        text = f"{settings.masked_redis_url} answers, and its ACL denies what is needed: {err}"
        return Diagnosis((Check("redis", "fail", text, PERMISSIONS),), has_redis=True)
    except RedisError as err:
        return Diagnosis((_no_redis(settings, err),), has_redis=False)


def _checks(settings: Settings, redis: Redis, is_embedded: bool) -> Iterator[Check]:
    if is_cluster(redis):
        text = f"{settings.masked_redis_url} is a Redis Cluster, which Celery cannot use"
        yield Check("redis", "fail", text, CLUSTER_HINT)
        return
    health = report(redis, settings.key_prefix)
    facts = health["redis"]
    yield _server(settings, facts)
    yield from _sentinels(settings, redis)
    yield _password(settings, is_embedded)
    yield _persistence(facts)
    yield _flushing(redis, facts)
    yield _eviction(facts)
    yield _memory(facts)
    yield _clock(redis)
    yield from _workers(health)
    yield from _same_store(settings, redis)
    yield from _budget(settings, health["store_use"])


def _are_certificates(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        return False
    return True


def _no_redis(settings: Settings, err: RedisError) -> Check:
    if settings.redis_ca and not _are_certificates(settings.redis_ca):
        advice = (
            "TOPCLIP_REDIS_CA is to name a file of certificates (PEM) that this user can read; "
            "in a container, by the path it has there"
        )
        return Check("redis", "fail", f"the certificates {settings.redis_ca} cannot be read", advice)
    text = f"{settings.masked_redis_url} is out of reach: {err}"
    for pattern, advice in CAUSES:
        if re.search(pattern, str(err)):
            return Check("redis", "fail", text, f"{advice}; see docs/redis.md")
    return Check("redis", "fail", text, f"{_advice(settings)}; see docs/redis.md")


def _advice(settings: Settings) -> str:
    """What to do about a Redis that does not answer, where the error says no more."""
    if not _is_on_this_machine(settings):
        return "is Redis up there, does it listen on that address (`bind`), and does a firewall let us through?"
    try:
        binary()
    except ConfigError:
        return "install Redis and set REDIS_URL"
    return "start `topclip up`, which brings its own Redis, or mend REDIS_URL"


def _is_on_this_machine(settings: Settings) -> bool:
    urls = [urlsplit(url) for url in settings.redis_url.split(";")]
    return all(url.scheme == "redis+socket" or is_loopback(url.hostname or "localhost") for url in urls)


def is_old(version: str) -> bool:
    """Whether a server of this version lacks what we use."""
    return tuple(int(part) for part in version.split(".")[:2]) < MIN_REDIS


def _server(settings: Settings, redis: Mapping[str, Any]) -> Check:
    version = str(redis["version"])
    where = f"Redis {version} at {settings.masked_redis_url}"
    if is_old(version):
        return Check(
            "redis", "fail", f"{where} is too old", "use Redis 6.2 or newer; docs/redis.md says how on Windows"
        )
    if not redis["writes"]:
        advice = PERMISSIONS if "NOPERM" in redis["warnings"][0] else "see docs/redis.md, Troubleshooting"
        return Check("redis", "fail", f"{where}: {redis['warnings'][0]}", advice)
    return Check("redis", "ok", f"{where} answers in {float(redis['latency_ms']):.1f} ms")


def _sentinels(settings: Settings, redis: Redis) -> Iterator[Check]:
    """Whether each sentinel is of use: one that is not goes unnoticed until it is the last."""
    asked = sentinels_of(redis)
    faults, masters = [], set()
    for place, sentinel in asked.items():
        try:
            master = sentinel.sentinel_masters()[settings.redis_master]
        except KeyError:
            faults.append(f"{place} knows no master {settings.redis_master}")
        except AuthenticationError:
            faults.append(f"{place}: asks for a password, or for another one: TOPCLIP_SENTINEL_PASSWORD")
        except RedisError as err:
            faults.append(f"{place}: {err}")
        else:
            masters.add((master["ip"], master["port"]))
    if faults:
        text = f"of {len(asked)} sentinels {len(faults)} are of no use: {'; '.join(faults)}"
        yield Check(
            "sentinels", "warn", text, "start them, or mend their hosts and ports in REDIS_URL; see docs/redis.md"
        )
    elif len(masters) > 1:
        text = f"the sentinels name different masters: {', '.join(f'{ip}:{port}' for ip, port in sorted(masters))}"
        advice = "a fail-over goes on, or one is cut off from the others: ask again in a minute, then look at its log"
        yield Check("sentinels", "warn", text, advice)
    elif asked:
        yield Check("sentinels", "ok", f"{len(asked)} sentinels answer and name the same master")


def _password(settings: Settings, is_embedded: bool) -> Check:
    """Whether Redis serves whoever comes, by coming without a password."""
    urls = [urlsplit(url) for url in settings.redis_url.split(";")]
    nameless = ";".join(urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2])) for url in urls)
    try:
        with redis_client(settings.model_copy(update={"redis_url": nameless}), KEEPER) as redis:
            redis.ping()
    except RedisError:
        return Check("password", "ok", "Redis asks for a password")
    if is_embedded:
        return Check("password", "ok", "Redis asks for no password, and listens on loopback alone")
    advice = "set `requirepass` (or ACL users: deploy/redis/users.acl) and put the password into REDIS_URL; see docs/redis.md"
    if _is_on_this_machine(settings):
        text = "Redis asks for no password: every program of this machine can control the workers"
        return Check("password", "warn", text, advice)
    text = "Redis asks for no password: whoever reaches it over the network can control the workers"
    return Check("password", "fail", text, advice)


def _persistence(redis: Mapping[str, Any]) -> Check:
    if not redis["aof"]["last_write_ok"]:
        return Check("persistence", "fail", "Redis cannot write its append-only file", "make room on its disk")
    if redis["aof"]["enabled"]:
        return Check("persistence", "ok", "the append-only file is on")
    advice = "`redis-cli CONFIG SET appendonly yes`, and the same in redis.conf"
    return Check("persistence", "warn", "the append-only file is off: a crash of Redis loses jobs", advice)


def _flushing(redis: Redis, facts: Mapping[str, Any]) -> Check:
    """How often the file is forced to disk, where our user may ask."""
    if not facts["aof"]["enabled"]:
        return Check("flushing", "ok", "there is no append-only file to force to disk")
    try:
        how = dict(redis.config_get("appendfsync")).get("appendfsync", "everysec")
    except NoPermissionError:
        return Check("flushing", "ok", "not looked at: the ACL of our user allows no CONFIG GET, as it should")
    if how == "no":
        advice = "`redis-cli CONFIG SET appendfsync everysec`, and the same in redis.conf"
        return Check("flushing", "warn", "appendfsync is off: a power cut loses half a minute of jobs", advice)
    return Check("flushing", "ok", f"the append-only file is forced to disk: {how}")


def _eviction(redis: Mapping[str, Any]) -> Check:
    policy = str(redis["maxmemory_policy"])
    if policy == "noeviction":
        return Check("eviction", "ok", "Redis evicts nothing (noeviction)")
    advice = "`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf"
    if not redis["maxmemory"]:
        return Check("eviction", "warn", f"with {policy} Redis throws jobs away once it is given a maxmemory", advice)
    return Check("eviction", "fail", f"with {policy} a full Redis throws jobs away", advice)


def _memory(redis: Mapping[str, Any]) -> Check:
    used, limit = int(redis["used_memory"]), int(redis["maxmemory"] or 0)
    text = f"{used / 1024**2:.1f} MiB used" + (f" of {limit / 1024**2:.0f} MiB" if limit else ", no limit set")
    advice = (
        "raise it (`redis-cli CONFIG SET maxmemory 1gb`, and the same in redis.conf), or shorten TOPCLIP_RETENTION_DAYS"
    )
    if limit and used > FULL_MEMORY * limit:
        return Check("memory", "fail", f"{text}: nothing more can be submitted soon", advice)
    if limit and (used > HIGH_MEMORY * limit or limit < LITTLE_MEMORY_BYTES):
        return Check("memory", "warn", f"{text}: that is little", advice)
    return Check("memory", "ok", text)


def _clock(redis: Redis) -> Check:
    began_s = time.time()
    theirs_s = redis_now(redis)
    return _skew("clock", "this machine's clock", (began_s + time.time()) / 2 - theirs_s)


def _skew(name: str, whose: str, ahead_s: float) -> Check:
    if abs(ahead_s) <= SKEW_S:
        return Check(name, "ok", f"{whose} and Redis' agree")
    text = f"{whose} is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} Redis'"
    advice = "have both machines keep time by NTP: `timedatectl set-ntp true`, `chronyc tracking`"
    if abs(ahead_s) < BAD_SKEW_S:
        return Check(name, "warn", f"{text}: times in statuses and logs differ", advice)
    return Check(name, "fail", f"{text}: signatures of callbacks and of S3 requests are refused", advice)


def _same_store(settings: Settings, redis: Redis) -> Iterator[Check]:
    """Whether the store is the web server's. One that does not answer is told of elsewhere; one that nobody uses yet may be
    that of a machine that only asks.
    """
    if is_unmounted(settings, redis):
        text = f"{settings.store_dir} holds no store, and the web server uses one"
        yield Check("same store", "warn", text, f"is the share mounted? {HINT}")
        return
    with contextlib.suppress(StorageError):
        store = store_for(settings, for_requests=True, is_made=False)
        if is_another(redis, settings.key_prefix, store):
            text = f"{settings.store or settings.store_dir} is not the store that the web server uses"
            grade: Grade = "fail" if known_mark(store) else "warn"
            yield Check("same store", grade, f"{text}: a worker does not start with it", HINT)
        else:
            yield Check("same store", "ok", "no web server uses another store")


def _budget(settings: Settings, use: StoreUse | None) -> Iterator[Check]:
    """Whether the store keeps within its budget, where it has one."""
    if not (budget := settings.store_budget_bytes):
        return
    if use is None:
        advice = "set TOPCLIP_STORE_BUDGET_GB for the workers, too, one of which measures it"
        yield Check("store budget", "warn", "nobody has measured the store", advice)
        return
    used, of, ended = (n / 1024**3 for n in (use.used_bytes, budget, use.may_go_bytes))
    text = f"{used:.1f} GiB used of {of:.1f}, {ended:.1f} of it by finished jobs"
    if use.has_room(0, budget):
        yield Check("store budget", "ok", text)
    else:
        advice = "raise TOPCLIP_STORE_BUDGET_GB, or cancel and delete jobs: those that run do not go"
        yield Check("store budget", "fail", f"{text}: new sources are refused", advice)


def _workers(health: Mapping[str, Any]) -> Iterator[Check]:
    workers = health["workers"]
    if not workers:
        yield Check("workers", "fail", "no worker was seen: jobs wait", "start `topclip up`, or a worker anywhere")
        return
    served = {queue for worker in workers for queue in worker["queues"]}
    if missing := [queue for queue in names.QUEUES if queue not in served]:
        advice = "start a worker without -Q, or one with each of them"
        yield Check("workers", "fail", f"no worker serves {', '.join(missing)}: jobs wait there", advice)
    else:
        yield Check("workers", "ok", f"{len(workers)} seen: {', '.join(worker['name'] for worker in workers)}")
    leases_s = {worker["name"]: worker["lease_s"] for worker in workers if "lease_s" in worker}
    if len(set(leases_s.values())) > 1:
        text = ", ".join(f"{name} {lease_s:g} s" for name, lease_s in sorted(leases_s.items()))
        advice = "set TOPCLIP_LEASE_S alike for all: those with a short one end the leases of the others, whose tasks run twice"
        yield Check("leases", "fail", f"the workers' leases differ: {text}", advice)
    for worker in workers:
        if (found := _skew("worker clock", f"the clock of {worker['name']}", worker["clock_ahead_s"])).grade != "ok":
            yield found
