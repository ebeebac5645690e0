"""What must happen to a job in one step in Redis, as Lua. Every script gets prefix, job id and its own arguments.

Whoever runs a delivery says its epoch, tag and lease: one that lost the lease writes no outcome either.

Redis runs a script alone, so that a check (is this attempt current? is the job cancelled?) and the write that depends on
it cannot be torn apart by another worker. Keys are built inside the scripts: Redis Cluster, which would forbid that,
is not supported by Celery either.

A verdict is one of OK, GONE (no such job), OLD (a newer epoch runs), LOST (the delivery belongs to another run),
CANCELLED (the flag is set), DONE (the job has ended).
"""

from typing import Any, Final

from redis import Redis

from workers.callback_scripts import CALLBACKS
from workers.submission_scripts import SUBMISSIONS

PRELUDE = """
local P, id = ARGV[1], ARGV[2]
local rec, parts = P..'job:'..id, P..'job:'..id..':parts'
local TERMINAL = {SUCCEEDED=1, PARTIAL=1, FAILED=1, CANCELLED=1}
local TURN_QUEUES = {'analyse', 'render'}  -- as in names.py
local function get(field) return redis.call('HGET', rec, field) end
local function now() local t = redis.call('TIME'); return string.format('%d.%06d', t[1], t[2]) end
local function keep(key) redis.call('EXPIREAT', key, get('expires_at')) end
local function announce()
  redis.call('HSET', rec, 'changed_at', now())
  local revision = redis.call('HINCRBY', rec, 'revision', 1)
  redis.call('PUBLISH', P..'job-events', cjson.encode({id=id, epoch=tonumber(get('epoch')), revision=revision}))
end
-- processes of live workers that take from the queue; counted once a second, since a fleet has many workers and many parts
local function slots(queue)
  local counted, t = P..'slots', tonumber(now())
  local n, at = unpack(redis.call('HMGET', counted, queue, queue..':at'))
  if at and math.abs(t - tonumber(at)) < 1 then return tonumber(n) end
  n = 0
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', P..'workers', t - 10, '+inf')) do
    local says = redis.call('HMGET', P..'worker:'..node, 'concurrency', 'queues')
    if says[1] and says[2] and string.find(','..says[2]..',', ','..queue..',', 1, true) then n = n + tonumber(says[1]) end
  end
  redis.call('HSET', counted, queue, n, queue..':at', now())
  return n
end
-- Jobs take turns: of the parts that wait, so many are let into the queue that no process waits for work, and no more,
-- so that whoever comes next is not behind all of a long job's.
local function let_in()
  for _, queue in ipairs(TURN_QUEUES) do
    local turns, room = P..'turns:'..queue, 0
    if redis.call('EXISTS', turns) == 1 then
      room = math.max(2, math.ceil(slots(queue) / 2)) - redis.call('LLEN', P..queue)
    end
    while room > 0 do
      local job = redis.call('LPOP', turns)
      if not job then break end
      local held = P..'job:'..job..':held:'..queue
      local message = redis.call('LPOP', held)
      if message then
        redis.call('LPUSH', P..queue, message); room = room - 1
        if redis.call('EXISTS', held) == 1 then redis.call('RPUSH', turns, job) end
      end
      if redis.call('EXISTS', held) == 0 then redis.call('ZREM', P..'waiting:'..queue, job) end
    end
  end
end
local function drop_held()
  for _, queue in ipairs(TURN_QUEUES) do
    redis.call('DEL', rec..':held:'..queue); redis.call('LREM', P..'turns:'..queue, 0, id)
    redis.call('ZREM', P..'waiting:'..queue, id)
  end
end
-- whose the job is; that outlives the record, which may expire before the indexes that it is in
local function owner() return get('owner') or redis.call('HGET', P..'owners', id) or '' end
local function count(state)  -- the job among its owner's live ones; what expires while it is live is swept by `room`
  if owner() == '' then return end
  local live = P..'live:'..owner()
  if TERMINAL[state] then redis.call('ZREM', live, id) return end
  redis.call('ZADD', live, get('expires_at'), id)
  redis.call('EXPIREAT', live, redis.call('ZRANGE', live, -1, -1, 'WITHSCORES')[2])
end
local function drop_joins(epoch)
  for _, stage in ipairs({'analyse', 'reframe', 'render'}) do
    local join = P..'celery-taskset-meta-'..id..'.'..epoch..'.'..stage..'-join'
    redis.call('DEL', join, join..'.j', join..'.t', join..'.s', join..'.d', join..'.c')
  end
end
local function owe_callback()  -- who is to be told of the end is told: written in the same step, so that it cannot be forgotten
  local ok, request = pcall(cjson.decode, get('request') or '')
  local options = ok and type(request) == 'table' and request.options
  local url = type(options) == 'table' and options.callback_url
  if type(url) ~= 'string' then return end
  local hook, due = rec..':callback', now()
  local where = string.lower(string.match(url, '^%a+://([^/?#]+)') or '')
  local host = string.match(where, '^%[.-%]') or string.match(where, '^[^:]*')  -- one receiver, whatever ports it is asked at
  redis.call('HSET', hook, 'epoch', get('epoch'), 'tries', 0, 'outcome', 'PENDING', 'host', host, 'due', due)
  keep(hook)
  redis.call('ZADD', P..'callbacks', due, id)
end
-- indexes of jobs, each once for all and once for the owner
local function enlist(index, score)
  redis.call('ZADD', P..index, score, id)
  if owner() ~= '' then redis.call('ZADD', P..index..':'..owner(), score, id) end
end
local function unlist(index)
  redis.call('ZREM', P..index, id)
  if owner() ~= '' then redis.call('ZREM', P..index..':'..owner(), id) end
end
local function move(state)
  local old = get('state')
  if old == state then return end
  if old then unlist('state:'..old) end
  enlist('state:'..state, get('created_at'))
  redis.call('HSET', rec, 'state', state)
  count(state)
  if TERMINAL[state] then
    redis.call('HINCRBY', P..'figures', 'jobs_ended|'..state, 1)
    redis.call('HSET', rec, 'finished_at', now()); drop_joins(get('epoch')); drop_held(); owe_callback()
  end
end
local function write(task, encoded)
  local key = P..'celery-task-meta-'..task
  if task == id then  -- what the job was doing is still to be seen when it has failed or was cancelled
    local old = redis.call('GET', key)
    if old and string.find(old, '"tasks"', 1, true) then redis.call('HSET', rec, 'last', old) end
  end
  redis.call('SET', key, encoded); keep(key)
  redis.call('PUBLISH', key, encoded)
end
local function part(name, state) redis.call('HSET', parts, name, state); keep(parts) end
-- A part is counted under its lease when it begins, until its worker says what became of the delivery (lease.py), unless the
-- process that ran it has died; what is left when nobody runs it are deaths.
local function starts_of(name)
  local found, of_part = redis.call('HGETALL', rec..':starts'), {}
  for i = 1, #found, 2 do if found[i + 1] == name then of_part[#of_part + 1] = found[i] end end
  return of_part
end
local function missing()
  if redis.call('EXISTS', P..'gone:'..id) == 1 then return 'EXPIRED' end
  local due = redis.call('ZSCORE', P..'expiry', id)
  return due and tonumber(due) <= tonumber(now()) and 'EXPIRED' or 'UNKNOWN'
end
local function judge(epoch, tag, lease)
  local current = get('epoch')
  if not current then return 'GONE' end
  if tonumber(epoch) < tonumber(current) then return 'OLD' end
  if lease ~= '' and redis.call('HGET', P..'unacked_lease', tag) ~= lease then return 'LOST' end
  if TERMINAL[get('state')] then return 'DONE' end
  if get('cancel') == '1' then return 'CANCELLED' end
  return 'OK'
end
-- A Redis that may not write says nothing either: it may be the master that was, and not know of jobs that came since.
-- Adds nothing; refused at once, also where memory is full.
local function verdict(epoch, tag, lease)
  redis.call('ZADD', P..'jobs', 'XX', 0, '')
  return judge(epoch, tag, lease)
end
local function drop_results()
  local epoch = get('epoch') or 0
  for _, name in ipairs(redis.call('HKEYS', parts)) do
    redis.call('DEL', P..'celery-task-meta-'..id..'.'..epoch..'.'..name)
  end
  drop_joins(epoch); drop_held()
end
local function forget_all()
  drop_results()
  count('FAILED')
  local digest = get('digest') or ''
  if string.sub(digest ~= '' and redis.call('GET', P..'idem:'..digest) or '', 1, #id + 1) == id..' ' then
    redis.call('DEL', P..'idem:'..digest)
  end
  for _, key in ipairs({rec, parts, rec..':starts', rec..':pulses', P..'celery-task-meta-'..id,
    rec..':callback', rec..':callback-tries'}) do
    redis.call('DEL', key)
  end
  redis.call('ZREM', P..'callbacks', id)
  redis.call('ZREM', P..'expiry', id)
  unlist('jobs')
  for _, s in ipairs({'QUEUED', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELLED'}) do
    unlist('state:'..s)
  end
  redis.call('HDEL', P..'owners', id)
end
local function say_deleted(epoch, revision)
  redis.call('PUBLISH', P..'job-events', cjson.encode({id=id, epoch=epoch, revision=revision, deleted=true}))
end
local function settle(revoked)
  if get('cancel') ~= '1' or TERMINAL[get('state')] then return false end
  for _, state in ipairs(redis.call('HVALS', parts)) do if state ~= 'done' then return false end end
  write(id, revoked); move('CANCELLED'); announce()
  return true
end
"""

BODIES: Final = CALLBACKS | {
    # meta -> nothing: the job ends FAILED, whatever it was doing
    "fail": """
if not get('state') or TERMINAL[get('state')] then return end
write(id, ARGV[3]); move('FAILED'); announce()
""",
    # epoch, tag, lease, part, stage or '', revoked, starts allowed -> verdict, or POISON: a task starts
    "start": """
let_in()
local v = verdict(ARGV[3], ARGV[4], ARGV[5])
if v == 'CANCELLED' then part(ARGV[6], 'done'); settle(ARGV[8]) end
if v ~= 'OK' then return v end
-- a copy of a message whose task has handed the job on already, perhaps long ago
local after = ({probe='select', select='finalise'})[ARGV[6]]
if after and (redis.call('HGET', parts, ARGV[6]) == 'done' or redis.call('HEXISTS', parts, after) == 1) then return 'DONE' end
part(ARGV[6], 'leased')
if get('state') == 'QUEUED' then move('RUNNING'); redis.call('HSET', rec, 'started_at', now()) end
if ARGV[7] ~= '' then redis.call('HSET', rec, 'stage', ARGV[7]) end
redis.call('HSET', rec..':pulses', ARGV[6], now()); keep(rec..':pulses')
announce()
redis.call('HSET', rec..':starts', ARGV[5], ARGV[6]); keep(rec..':starts')
if #starts_of(ARGV[6]) > tonumber(ARGV[9]) then return 'POISON' end
return v
""",
    # epoch, tag, lease, task id, meta or '', part, download or '' -> verdict: a running task asks whether to go on, and says
    # how far it is
    "pulse": """
local v = verdict(ARGV[3], ARGV[4], ARGV[5])
if v ~= 'OK' then return v end
redis.call('HSET', rec..':pulses', ARGV[8], now())
if (ARGV[9] or '') ~= '' then redis.call('HSET', rec, 'download', ARGV[9]); announce() end
if ARGV[7] == '' then return v end
local known = redis.call('GET', P..'celery-task-meta-'..ARGV[6])
if not (known and cjson.decode(known).status == 'SUCCESS') then write(ARGV[6], ARGV[7]); announce() end
return v
""",
    # epoch, tag, lease, part -> verdict, and seconds since the part's task said anything
    "listen": """
local v = judge(ARGV[3], ARGV[4], ARGV[5])
local said = redis.call('HGET', rec..':pulses', ARGV[6])
return {v, said and string.format('%.1f', tonumber(now()) - tonumber(said)) or '0'}
""",
    # epoch, tag, lease, stage, meta, part... -> verdict: the job goes on to a stage of many parts
    "advance": """
local v = verdict(ARGV[3], ARGV[4], ARGV[5])
if v ~= 'OK' then return v end
redis.call('HSET', rec, 'stage', ARGV[6]); write(id, ARGV[7])
for i = 8, #ARGV do redis.call('HSETNX', parts, ARGV[i], 'published') end
keep(parts)
announce()
return v
""",
    # epoch, tag, lease, task id, meta, job state or '' -> verdict: a result is stored; job state is given where the task bears
    # the job's id
    "store": """
local v = verdict(ARGV[3], ARGV[4], ARGV[5])
if v == 'CANCELLED' and ARGV[8] == '' then v = 'OK' end
if v ~= 'OK' then return v end
write(ARGV[6], ARGV[7])
if ARGV[8] ~= '' then move(ARGV[8]) end
announce()
return v
""",
    # epoch, tag, lease, part, state, revoked -> verdict: a part ends, or goes back to its queue
    "finish": """
local v = verdict(ARGV[3], ARGV[4], ARGV[5])
if v == 'GONE' or v == 'OLD' or v == 'LOST' then return v end
part(ARGV[6], ARGV[7])
if ARGV[7] == 'done' then for _, lease in ipairs(starts_of(ARGV[6])) do redis.call('HDEL', rec..':starts', lease) end end
settle(ARGV[8]); let_in()
return v
""",
    # epoch, queue, message -> verdict: the message of a part waits for its job's turn
    "hold": """
local v = verdict(ARGV[3], '', '')
if v ~= 'OK' then return v end
local held = rec..':held:'..ARGV[4]
if redis.call('RPUSH', held, ARGV[5]) == 1 then redis.call('RPUSH', P..'turns:'..ARGV[4], id) end
redis.call('ZADD', P..'waiting:'..ARGV[4], 'NX', now(), id)
keep(held); let_in()
return v
""",
    # -> 1 if parts of the job wait for its turn; should the turn have been forgotten, it has one again
    "waits": """
local waits = 0
for _, queue in ipairs(TURN_QUEUES) do
  if redis.call('EXISTS', rec..':held:'..queue) == 1 then
    waits = 1
    if not redis.call('LPOS', P..'turns:'..queue, id) then redis.call('RPUSH', P..'turns:'..queue, id) end
  end
end
let_in()
return waits
""",
    # epoch, tag, lease, part -> times that the part was begun and died, its process being killed just now; 0: not to be counted
    "killed": """
if verdict(ARGV[3], ARGV[4], ARGV[5]) ~= 'OK' then return 0 end
part(ARGV[6], 'published')
return #starts_of(ARGV[6])
""",
    # epoch, tag, lease -> verdict
    "current": "return verdict(ARGV[3], ARGV[4], ARGV[5])",
    # revoked[, newest epoch that is meant] -> QUEUED (was; now cancelled) | RUNNING (flag set) | TERMINAL | OLD (a newer epoch
    # runs, which is not meant) | EXPIRED | UNKNOWN
    "cancel": """
local state = get('state')
if not state then return missing() end
if ARGV[4] and tonumber(get('epoch')) > tonumber(ARGV[4]) then return 'OLD' end
if TERMINAL[state] then return 'TERMINAL' end
redis.call('HSET', rec, 'cancel', 1)
if state == 'QUEUED' then write(id, ARGV[3]); move('CANCELLED'); announce(); return 'QUEUED' end
drop_held()
local found = redis.call('HGETALL', parts)
for i = 1, #found, 2 do if found[i + 1] == 'published' then part(found[i], 'done') end end  -- what has not begun never will
move('CANCELLING'); announce(); settle(ARGV[3])
return 'RUNNING'
""",
    # epoch seen, part, revoked -> {new epoch, or 0 if there is nothing to start again; attempts}
    "redrive": """
local state = get('state')
if not state or TERMINAL[state] or tonumber(get('epoch')) ~= tonumber(ARGV[3]) then return {0, 0} end
redis.call('DEL', parts); drop_held()
if settle(ARGV[5]) then return {0, 0} end
local epoch, attempts = redis.call('HINCRBY', rec, 'epoch', 1), redis.call('HINCRBY', rec, 'attempts', 1)
redis.call('HINCRBY', P..'figures', 'repairs|redriven', 1)
part(ARGV[4], 'published'); announce()
return {epoch, attempts}
""",
    # tombstone seconds, force -> OK | BUSY | EXPIRED | UNKNOWN: all of a job goes, a tombstone stays
    "forget": """
local state = get('state')
if not state and ARGV[4] ~= '1' then return missing() end
if state and not TERMINAL[state] and ARGV[4] ~= '1' then return 'BUSY' end
local epoch, revision = tonumber(get('epoch') or 0), tonumber(get('revision') or 0) + 1
local whose = owner()
forget_all()
redis.call('SET', P..'gone:'..id, whose, 'EX', ARGV[3])
say_deleted(epoch, revision)
return 'OK'
""",
    # -> whose the job is, '' nobody's; nothing if there never was such a job
    "owner": """
return get('owner') or redis.call('HGET', P..'owners', id) or redis.call('GET', P..'gone:'..id)
""",
    # -> {record as a flat list, the job's result, results of its parts, jobs ahead} or EXPIRED | UNKNOWN
    "read": """
local record = redis.call('HGETALL', rec)
if #record == 0 then return missing() end
local meta = redis.call('GET', P..'celery-task-meta-'..id) or ''
local found, state, ahead = {}, get('state'), -1
local doing = (state == 'FAILED' or state == 'CANCELLED') and get('last') or meta
if doing ~= '' and state ~= 'SUCCEEDED' and state ~= 'PARTIAL' then
  local ok, doc = pcall(cjson.decode, doing)
  local wanted = {}
  for i, task in ipairs(ok and type(doc.result) == 'table' and doc.result.tasks or {}) do
    wanted[i] = P..'celery-task-meta-'..task
  end
  for i = 1, #wanted, 1000 do  -- one question for a thousand: a long source has hundreds
    local some = redis.call('MGET', unpack(wanted, i, math.min(i + 999, #wanted)))
    for _, known in ipairs(some) do found[#found + 1] = known or '' end
  end
end
if state == 'QUEUED' then ahead = redis.call('ZRANK', P..'state:QUEUED', id) or -1 end
return {record, meta, found, ahead}
""",
}


class Scripts:
    """The scripts over one Redis connection pool. Raises what redis-py raises."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._prefix = prefix
        self._scripts = {name: client.register_script(PRELUDE + body) for name, body in (BODIES | SUBMISSIONS).items()}

    def __call__(self, name: str, job_id: str, *args: Any, client: Any = None) -> Any:
        """Run one script; `client` may be a pipeline."""
        return self._scripts[name](keys=[], args=[self._prefix, job_id, *args], client=client)
