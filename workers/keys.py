"""Names in Redis, without the prefix that every key and channel bears.

job:<id>          hash: the job's record (request, created_at, expires_at, epoch, revision, state, stage, cancel, ...; change:
                  number of the newest change of what is asked for, made: the manifest of an attempt before)
job:<id>:parts    hash: what is outstanding, part -> published | leased | done
job:<id>:starts   hash: lease value -> the part that was begun under it by a run that goes on, or has died
job:<id>:pulses   hash: when a part's task last said anything
job:<id>:callback hash: who is to be told of its end: epoch, tries, outcome, host, due,
                      and busy_until, busy_epoch while it is told
job:<id>:callback-tries   list: the last tries, as JSON
job:<id>:held:<queue>   list: messages of parts that wait for their job's turn in the queue
turns:<queue>     list: the jobs that have such messages, next first
waiting:<queue>   sorted set: the same jobs by the time since which the messages wait
slots             hash: processes of live workers that take from a queue, and <queue>:at, when they were counted
celery-task-meta-<task id>   Celery's result of a task; the job's own under the job's id
jobs, expiry      sorted sets of job ids by creation and by expiry
state:<STATE>     sorted sets of job ids by creation
jobs:<owner>, state:<STATE>:<owner>   the same for the jobs of one owner
owners            hash: job id -> its owner, where it has one
analyses          sorted set: folders below the store's `analysis/` (content hashes, names of remembered digests) by the
                  latest expiry of a job that used them
live:<owner>      sorted set: the owner's jobs that wait or run, by expiry; none for jobs without an owner
idem:<digest>     "<id> <body>": the job that an owner's Idempotency-Key stands for, and the hash of what was submitted
intent:<id>       when a submission began to write its record, or when files without one were first seen; gone as soon as the
                  job's record is here, so that what died in its submission is not taken for a job that Redis lost
dropped:<id>      that submission was refused, or given up: it must not go on, and what is left of its files is no job
gone:<id>         a tombstone: the job existed and expired or was deleted; its value is the job's owner
workers           sorted set: node names by their last heartbeat; worker:<node> hash: what it says of itself
keepers           hash: when any worker's keeper last reached Redis (at), and from when leases may be ended (sweep_from)
lost              set: jobs that somebody found in the store and not in Redis
looked-at         the run of Redis whose unfinished jobs were compared with what the store knows to be cancelled
callbacks         sorted set: jobs whose end is still to be told, by the time of the next try
callback-line:<host>      sorted set: those of them that are due and wait for their receiver
callback-lines    sorted set: receivers that have a line and are not being told, by the time from which they may be
callbacks-out     sorted set: receivers that are being told, by the time at which that is given up
callback-host:<host>      hash: a receiver that does not answer: fails, quiet_until
store             hash: what the store holds, where it has a budget: used, may_go (of finished jobs), at (when measured), and
                  refused, 1 where something was since; mark: which store the web server uses (workers/one_store.py)
figures           hash: what workers count for `/metrics` (workers/figures.py)
probe             written by whoever looks at Redis' health, to see whether it writes
rate:LIMITER/...  counters of requests by key or address, for a minute or as long as the rate says
job-events        channel: {id, epoch, revision[, deleted]} at every change of a job
unacked, unacked_index, unacked_lease   deliveries not yet acknowledged: message, time of last renewal, lease value
"""

EXPIRY = "expiry"
ANALYSES = "analyses"
EVENTS = "job-events"
UNACKED = "unacked"
UNACKED_INDEX = "unacked_index"
UNACKED_LEASE = "unacked_lease"
KEEPERS = "keepers"
WORKERS = "workers"
LOST = "lost"
LEADER = "reconciler-leader"
LOOKED_AT = "looked-at"
PROBE = "probe"
FIGURES = "figures"
STORE = "store"


def starts(prefix: str, job_id: str) -> str:
    """Whole key of the starts of a job."""
    return f"{prefix}job:{job_id}:starts"


def meta(task_id: str) -> str:
    """Key of a Celery result."""
    return f"celery-task-meta-{task_id}"
