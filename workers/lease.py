"""The lease of a delivery: a worker owns a message only as long as it renews it, and knows when it has lost it.

kombu puts an unacknowledged message back under the same delivery tag, so that a worker that was paused too long cannot tell
by the tag that somebody else has it now, and its late acknowledgement would delete the new owner's entry. Here every delivery
gets a value of its own in `unacked_lease`; renewing, acknowledging and handing back compare it, in one script each.
Times are Redis' own, so that a worker with a wrong clock reaps nobody.

The same scripts take back the start that was counted under a lease (workers/scripts.py): a worker that says what became of a
delivery has not died of it, however late Redis hears that, and whoever has the delivery by then.
"""

import logging
import random
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import kombu.transport.redis as kombu_redis
from celery.worker import state as worker_state
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis.exceptions import RedisError, ResponseError

from workers import figures, keys, names
from workers.figures import FIGURES

log = logging.getLogger(__name__)

NOW = "local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6\n"
# KEYS of all: unacked, unacked_index, unacked_lease, keepers, workers, reconciler-leader.
TAKE = NOW + (
    "redis.call('ZADD', KEYS[2], now, ARGV[1]); redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]);"
    "redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])"
)
# List, message: what was taken from it and cannot be kept goes back, to be the next again. A script that has written before may
# write although memory is full, hence the first line; what it puts back was there a moment ago.
PUT_BACK = "redis.call('HDEL', KEYS[1], ''); redis.call('RPUSH', ARGV[1], ARGV[2])"
# ARGV of those that end a delivery: tag, value, key of the job's starts.
ACK = """
redis.call('HDEL', ARGV[3], ARGV[2])
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1]); redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('HDEL', KEYS[3], ARGV[1])
return 1"""
# The lease passes to whoever restores the message, so that its old owner cannot renew it in the meantime.
HAND_BACK = """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then
  redis.call('HDEL', ARGV[3], ARGV[2])
  return 0
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])  -- first, since where memory is full it is refused, before anything was done
redis.call('HDEL', ARGV[3], ARGV[2])
return 1"""
# Lease in seconds -> 1 if no worker was heard of for too long: Redis was frozen, away or set to another time, or all workers
# were. Owners come first then. Redis itself keeps count, since a sweep that was asked for before may lie in a socket and run
# before any renewal, and a worker may be back long before another.
# Where its clock was set back, what was written before lies ahead, and what nobody writes anew would stay there until the clock
# has caught up: dead workers, their leases, and the lead of one of them. They count from now on.
BEAT = (
    NOW
    + """
local lease, last = tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[4], 'at') or 0)
local was_silent = math.abs(now - last) > lease / 2
if was_silent then redis.call('HSET', KEYS[4], 'sweep_from', now + lease) end
if now < last then
  for _, index in ipairs({KEYS[2], KEYS[5]}) do
    for _, ahead in ipairs(redis.call('ZRANGE', index, '(' .. now, '+inf', 'BYSCORE')) do
      redis.call('ZADD', index, now, ahead)
    end
  end
  redis.call('DEL', KEYS[6])
end
redis.call('HSET', KEYS[4], 'at', now)
return was_silent and 1 or 0"""
)
REAP = (
    NOW
    + """
local kept = redis.call('HMGET', KEYS[4], 'at', 'sweep_from')
if not (kept[1] and kept[2]) or now - kept[1] > ARGV[1] / 2 or now < tonumber(kept[2]) then return {} end
local due = redis.call('ZRANGE', KEYS[2], '-inf', now - tonumber(ARGV[1]), 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[3]))
for _, tag in ipairs(due) do
  redis.call('ZADD', KEYS[2], now, tag); redis.call('HSET', KEYS[3], tag, ARGV[2])
end
return due"""
)
RENEW = (
    NOW
    + """
local lost = {}
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] then redis.call('ZADD', KEYS[2], now, ARGV[i])
  else lost[#lost + 1] = ARGV[i] end
end
return lost"""
)
# A hand-back that could not be made at once: the next sweep takes it for due.
LATE_HAND_BACK = """
redis.call('HDEL', ARGV[3], ARGV[2])
if redis.call('HGET', KEYS[3], ARGV[1]) == ARGV[2] then redis.call('ZADD', KEYS[2], 1, ARGV[1]) end"""

REAPED_AT_ONCE = 50
LOOKERS: Final = 8
"""Workers that look each second for what any worker may do; a fleet of hundreds would ask Redis for little else."""
CONNECTION_ERRORS = (AttributeError, OSError, RedisError)
"""What a channel raises whose connection is gone; kombu sets its client to None, hence the AttributeError."""


@dataclass
class Leases:
    """What the worker's main process has to say about its leases later, shared by the transport and the keeper's thread."""

    late: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Acknowledgements and hand-backs that Redis was away for: delivery -> script, job."""
    untaken: list[tuple[str, str]] = field(default_factory=list)
    """Messages that Redis would neither lease to us nor take back: list, message."""
    is_kept: bool = False
    """Whether this process has a keeper. Flower and whoever else listens for a while read what kombu has, and sweep nothing."""
    redis_ahead_s: float = 0.0
    """How much Redis' clock is ahead of this machine's, as the keeper last saw."""
    n_workers: int = 1
    """Of the fleet, as the keeper last heard."""
    jobs: dict[str, str] = field(default_factory=dict)
    """Whose start ends with the delivery: delivery -> job."""

    def is_our_turn(self) -> bool:
        """Whether this worker looks now for what any may do: always in a small fleet, else as often as makes LOOKERS of all."""
        return random.random() * self.n_workers < LOOKERS

    def job_of(self, delivery_tag: str) -> str:
        """Whose start is to be taken back as the delivery ends, '' for nobody's. Asked once."""
        return self.jobs.pop(delivery_tag, "")

    def died(self, delivery_tag: str) -> None:
        """The process that ran it is dead: its start stays counted, whatever becomes of the delivery."""
        self.jobs.pop(delivery_tag, None)


LEASES = Leases()


def delivery(tag: str, value: str) -> str:
    """What kombu takes for the delivery tag: the tag and the lease's value, so that two deliveries of one message differ."""
    return f"{tag}#{value}"


def tag_and_value(delivery_tag: str) -> tuple[str, str]:
    """The message's own tag, and the value of the lease that it was delivered under."""
    tag, _, value = delivery_tag.partition("#")
    return tag, value


class LeasedQoS(kombu_redis.QoS):  # type: ignore[misc]
    """kombu's bookkeeping of deliveries, by lease values."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Take a delivery: its lease begins, and its value rides to the task in our header.

        Raises: ResponseError where Redis refuses the lease; the message is back in its queue, or is put back by the keeper.
        """
        info = message.delivery_info
        value = uuid4().hex
        payload = dumps([message._raw, info["exchange"], info["routing_key"]])
        try:
            self._run(TAKE, delivery_tag, payload, value)
        except ResponseError:
            self._put_back(message)
            raise
        if header := message.headers.get(names.HEADER):
            message.headers[names.HEADER] = {**header, "lease": [delivery_tag, value]}
            LEASES.jobs[delivery(delivery_tag, value)] = header["job"]
        message.delivery_tag = delivery(delivery_tag, value)
        virtual.QoS.append(self, message, message.delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, if the lease is still ours; later, if Redis is away."""
        job = LEASES.job_of(delivery_tag)
        try:
            if not self._run(ACK, *tag_and_value(delivery_tag), self._starts(job)):
                log.warning("delivery %s belongs to another run by now; not acknowledged", delivery_tag)
        except CONNECTION_ERRORS:
            LEASES.late[delivery_tag] = ACK, job
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Hand a delivery back to its queue's head, or drop it."""
        if not requeue:
            self.ack(delivery_tag)
            return
        job = LEASES.job_of(delivery_tag)
        try:
            self._hand_back(delivery_tag, job)
        except CONNECTION_ERRORS:
            LEASES.late[delivery_tag] = LATE_HAND_BACK, job
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Hand back whatever is unacknowledged, at shutdown."""
        for delivery_tag in list(self._delivered):
            self._hand_back(delivery_tag, LEASES.job_of(delivery_tag))
        self._delivered.clear()

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """On a lost connection do nothing, since the leases stand (stock kombu crashes the worker); at shutdown hand back."""
        if worker_state.should_stop in (None, False) and worker_state.should_terminate in (None, False):
            self._on_collect.cancel()
            return
        try:
            super().restore_unacked_once(stderr)
        except CONNECTION_ERRORS:
            log.warning("could not hand back unfinished tasks; they return when their leases end")

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Put back the messages whose lease ended; workers do."""
        if not LEASES.is_kept or not LEASES.is_our_turn():
            return
        reaper = f"reaper-{uuid4().hex}"
        for tag in self._run(REAP, self.visibility_timeout, reaper, REAPED_AT_ONCE) or []:
            text = tag.decode() if isinstance(tag, bytes) else tag
            log.warning("lease of delivery %s ended; back to its queue", text)
            FIGURES.count(figures.LEASES, "ended")
            self.restore_by_tag(text, leftmost=True)
            self._forget_value(text, reaper)

    def _put_back(self, message: Any) -> None:
        info, text = message.delivery_info, dumps(message._raw)
        for queue in self.channel._lookup(info["exchange"], info["routing_key"]):
            untaken = self.channel.global_keyprefix + queue, text
            try:
                self._run(PUT_BACK, *untaken)
            except CONNECTION_ERRORS:
                LEASES.untaken.append(untaken)

    def _hand_back(self, delivery_tag: str, job: str) -> None:
        (tag, value), mine = tag_and_value(delivery_tag), f"return-{uuid4().hex}"
        if self._run(HAND_BACK, tag, value, self._starts(job), mine):
            self.restore_by_tag(tag, leftmost=True)
            self._forget_value(tag, mine)

    def _starts(self, job: str) -> str:
        return keys.starts(self.channel.global_keyprefix, job)

    def _forget_value(self, tag: str, value: str) -> None:
        """Drop the value of a message that is back in its queue, unless somebody has it again by now."""
        self._run(
            "if redis.call('HGET', KEYS[3], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[3], ARGV[1]) end",
            tag,
            value,
        )

    def _run(self, script: str, *args: Any) -> Any:
        prefix = self.channel.global_keyprefix
        with self.channel.conn_or_acquire() as client:
            return run_script(client, prefix, script, *args)


def run_script(client: Any, prefix: str, script: str, *args: Any) -> Any:
    """Run a lease script, with the prefix that kombu does not put before a script's keys. Raises what redis-py raises."""
    names_ = (
        keys.UNACKED, keys.UNACKED_INDEX, keys.UNACKED_LEASE, keys.KEEPERS, keys.WORKERS, keys.LEADER,
    )  # fmt: skip
    return client.eval(script, len(names_), *(prefix + name for name in names_), *args)
