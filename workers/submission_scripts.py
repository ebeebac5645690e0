"""The scripts of submissions and retries: is there room, was it sent before, and what begins.

They begin with the prelude of workers/scripts.py.
"""

from typing import Final

SHARED = """
local REMEMBERED_S = 86400  -- how long what died in its submission is told from a job that Redis lost
local function room(owner, bound, owner_bound)
  local live = 0
  for _, s in ipairs({'QUEUED', 'RUNNING', 'CANCELLING'}) do live = live + redis.call('ZCARD', P..'state:'..s) end
  if live >= tonumber(bound) then return 'FULL' end
  if owner == '' then return 'OK' end
  redis.call('ZREMRANGEBYSCORE', P..'live:'..owner, 0, now())
  return redis.call('ZCARD', P..'live:'..owner) >= tonumber(owner_bound) and 'OWNER_FULL' or 'OK'
end
local function known(digest)  -- the job that a key stands for, and the body it came with
  local job, body = string.match(digest ~= '' and redis.call('GET', P..'idem:'..digest) or '', '^(%S+) (%S+)$')
  if job and redis.call('EXISTS', P..'job:'..job) == 1 then return job, body end
end
local function renounce()  -- nothing that is left of this submission is a job, whatever becomes of its files
  redis.call('DEL', P..'intent:'..id); redis.call('SET', P..'dropped:'..id, 1, 'EX', REMEMBERED_S)
end
local function begin_again(meta, stage)  -- an ended job is started again by its client, as if nothing had gone wrong yet
  local state, was = get('state'), cjson.decode(redis.call('GET', P..'celery-task-meta-'..id) or '{}')
  if state == 'SUCCEEDED' or state == 'PARTIAL' then redis.call('HSET', rec, 'made', was.result.manifest) end
  drop_results()
  redis.call('DEL', parts, rec..':starts', rec..':pulses')
  redis.call('HINCRBY', rec, 'epoch', 1); redis.call('HINCRBY', rec, 'attempts', 1)
  redis.call('HSET', rec, 'cancel', 0)
  move('QUEUED'); write(id, meta); part(stage, 'published')
  redis.call('HDEL', rec, 'stage', 'started_at', 'finished_at', 'last', 'download')
  announce()
end
local function same(digest, body)
  local job, was = known(digest)
  if not job then return end
  if was ~= body then return 'OTHER' end
  redis.call('HSET', P..'job:'..job, 'told', 1)
  return 'SAME '..job
end
"""

SUBMISSIONS: Final = {
    # owner, digest or '', bound, owner's bound -> OK | KNOWN | FULL | OWNER_FULL: is a submission worth sending?
    "room": SHARED
    + """
if known(ARGV[4]) then return 'KNOWN' end
return room(ARGV[3], ARGV[5], ARGV[6])
""",
    # owner, digest or '', body, bound, owner's bound -> {OK | SAME <id> | OTHER | FULL | OWNER_FULL | LATE, time}: a submission
    # is about to write its record
    "intend": SHARED
    + """
if redis.call('EXISTS', P..'dropped:'..id) == 1 then return {'LATE', now()} end
local v = same(ARGV[4], ARGV[5]) or room(ARGV[3], ARGV[6], ARGV[7])
if v == 'OK' then redis.call('SET', P..'intent:'..id, now(), 'EX', REMEMBERED_S) end
return {v, now()}
""",
    # age in s, 1 if its record is in the store, digest of its key or '' -> NONE | YOUNG | DROPPED: whether files are of a
    # submission that died; dropped, it cannot go on. One that has its record may have been accepted by a Redis that lost it
    # again, so it is a job all the same, unless its client has another under its key by now. Files that nobody intended are
    # young when first seen.
    "drop": SHARED
    + """
if redis.call('EXISTS', P..'dropped:'..id) == 1 then return 'DROPPED' end
local intent, has_record = P..'intent:'..id, ARGV[4] == '1'
local since = redis.call('GET', intent)
if not since and has_record then return 'NONE' end
if not since then redis.call('SET', intent, now(), 'EX', REMEMBERED_S); return 'YOUNG' end
if tonumber(now()) - tonumber(since) < tonumber(ARGV[3]) then return 'YOUNG' end
if has_record and not known(ARGV[5]) then return 'NONE' end
renounce()
return 'DROPPED'
""",
    # request, created_at, expires_at, name, meta, part, bound, epoch, owner[, owner's bound, digest or '', body, 1 if it was
    # intended, number of the newest change that is in request] -> OK | EXISTS | SAME <id> | OTHER | FULL | OWNER_FULL | LATE
    # (dropped meanwhile)
    "submit": SHARED
    + """
if redis.call('EXISTS', rec) == 1 then return 'EXISTS' end
local digest, body = ARGV[13] or '', ARGV[14] or ''
local v = same(digest, body) or room(ARGV[11], ARGV[9], ARGV[12] or ARGV[9])
local is_intended = ARGV[15] == '1'
if v == 'OK' and is_intended and redis.call('EXISTS', P..'intent:'..id) == 0 then v = 'LATE' end
if v ~= 'OK' then
  if is_intended then renounce() end
  return v
end
redis.call('DEL', P..'intent:'..id)
redis.call('HSET', rec, 'request', ARGV[3], 'created_at', ARGV[4], 'expires_at', ARGV[5], 'name', ARGV[6],
  'epoch', ARGV[10], 'owner', ARGV[11], 'digest', digest, 'attempts', 1, 'revision', 0, 'cancel', 0,
  'change', ARGV[16] or 0)
keep(rec)
if digest ~= '' then redis.call('SET', P..'idem:'..digest, id..' '..body); keep(P..'idem:'..digest) end
if ARGV[11] ~= '' then redis.call('HSET', P..'owners', id, ARGV[11]) end
enlist('jobs', ARGV[4]); redis.call('ZADD', P..'expiry', ARGV[5], id)
move('QUEUED'); write(id, ARGV[7]); part(ARGV[8], 'published'); announce()
return 'OK'
""",
    # force -> 1 if the job is no more: takes back a submission that was refused. Force 0: only if it waits; 1: always;
    # 2: unless a repeated submission was told of the job
    "withdraw": SHARED
    + """
if get('state') ~= 'QUEUED' and ARGV[3] == '0' then return 0 end
if get('told') and ARGV[3] == '2' then return 0 end
local epoch, revision = tonumber(get('epoch') or 0), tonumber(get('revision') or 0) + 1
forget_all(); say_deleted(epoch, revision); renounce()
return 1
""",
    # -> nothing: a submission that was to be is none, unless it is a job already
    "renounce": SHARED
    + """
if redis.call('EXISTS', rec) == 0 then renounce() end
""",
    # epoch seen, meta, part, bound, owner's bound -> OK | BUSY | DONE | FULL | OWNER_FULL | EXPIRED | UNKNOWN: an ended job is
    # started again for what it lacks
    "retry": SHARED
    + """
local state = get('state')
if not state then return missing() end
if state == 'SUCCEEDED' then return 'DONE' end
if not TERMINAL[state] or get('epoch') ~= ARGV[3] then return 'BUSY' end
local v = room(get('owner') or '', ARGV[6], ARGV[7])
if v ~= 'OK' then return v end
begin_again(ARGV[4], ARGV[5])
return 'OK'
""",
    # epoch seen, meta, part, number, request -> OK | DONE (it was made already) | MOVED (another epoch) | EXPIRED | UNKNOWN: a
    # change that is in the store is made, whatever the job does now; there is no room to be asked for any more
    "change": SHARED
    + """
if not get('state') then return missing() end
if tonumber(get('change') or 0) >= tonumber(ARGV[6]) then return 'DONE' end
if get('epoch') ~= ARGV[3] then return 'MOVED' end
begin_again(ARGV[4], ARGV[5])
redis.call('HSET', rec, 'change', ARGV[6], 'request', ARGV[7])
return 'OK'
""",
}
