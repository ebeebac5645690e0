"""The scripts of callbacks: what is owed to those who want to be told of a job's end, and what became of it.

They begin with the prelude of workers/scripts.py, whose `owe_callback` writes down what is owed in the step that ends a job.
"""

from typing import Final

# A receiver is told no more, and the next of its line may be, behind those of others that wait already.
FREE: Final = """
local function free(host)
  redis.call('ZREM', P..'callbacks-out', host)
  if redis.call('EXISTS', P..'callback-line:'..host) == 1 then redis.call('ZADD', P..'callback-lines', now(), host) end
end
"""

CALLBACKS: Final = {
    # seconds that a message may take, seconds that a try may take -> {job, epoch, tries} of each that is due
    "claim_callbacks": FREE
    + """
local due, lines, out = P..'callbacks', P..'callback-lines', P..'callbacks-out'
redis.call('ZADD', lines, 'XX', 0, '')  -- adds nothing: refused where memory is full, in which no try could be published either
for _, host in ipairs(redis.call('ZRANGE', out, '-inf', now(), 'BYSCORE')) do free(host) end
local t = tonumber(now())
-- what is due waits in a line for each receiver, so that whoever has many takes nobody's turn
local ripe = redis.call('ZRANGE', due, '-inf', t, 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
for i = 1, #ripe, 2 do
  local host = redis.call('HGET', P..'job:'..ripe[i]..':callback', 'host')
  redis.call('ZREM', due, ripe[i])
  if host then
    redis.call('ZADD', P..'callback-line:'..host, ripe[i + 1], ripe[i])
    redis.call('ZADD', lines, 'NX', ripe[i + 1], host)
  end
end
local function next_of(host)  -- a job, its epoch and tries; nothing where all that wait are gone
  while true do
    local job = redis.call('ZPOPMIN', P..'callback-line:'..host)[1]
    if not job then return end
    local epoch, tries = unpack(redis.call('HMGET', P..'job:'..job..':callback', 'epoch', 'tries'))
    if epoch then return job, epoch, tries end
  end
end
local waiting = redis.call('ZRANGE', lines, '-inf', t, 'BYSCORE', 'LIMIT', 0, 1000)
if #waiting == 0 then return {} end  -- as nearly always, and every worker asks each second
local found, most = {}, math.max(1, math.floor(slots('callback') / 2))
for _, host in ipairs(waiting) do
  if redis.call('ZCARD', out) >= most then break end
  local quiet = tonumber(redis.call('HGET', P..'callback-host:'..host, 'quiet_until') or 0)
  if quiet > t then redis.call('ZADD', lines, quiet, host)
  else
    redis.call('ZREM', lines, host)
    if not redis.call('ZSCORE', out, host) then  -- one at a time for each receiver, so that a dead one takes one slot
      local job, epoch, tries = next_of(host)
      if job then
        redis.call('ZADD', out, t + tonumber(ARGV[4]), host)
        redis.call('ZADD', due, t + tonumber(ARGV[3]), job)
        found[#found + 1] = {job, epoch, tries}
      end
    end
  end
end
return found
""",
    # epoch, tries, seconds that a try may take -> OK | OLD (another try, another attempt) | LATER (its receiver rests, or is
    # told of an older attempt)
    "begin_callback": FREE
    + """
local hook, t = rec..':callback', tonumber(now())
local epoch, tries, outcome, host = unpack(redis.call('HMGET', hook, 'epoch', 'tries', 'outcome', 'host'))
local busy, older = unpack(redis.call('HMGET', hook, 'busy_until', 'busy_epoch'))
local is_busy = busy and tonumber(busy) > t
-- a newer end came before this try began, and is the next in its receiver's line
if epoch and epoch ~= ARGV[3] and not is_busy then free(host) end
if epoch ~= ARGV[3] or tries ~= ARGV[4] or outcome ~= 'PENDING' then return 'OLD' end
if get('epoch') ~= epoch or not TERMINAL[get('state')] then
  redis.call('HSET', hook, 'outcome', 'SUPERSEDED'); redis.call('ZREM', P..'callbacks', id)
  free(host)
  return 'OLD'
end
local quiet = tonumber(redis.call('HGET', P..'callback-host:'..host, 'quiet_until') or 0)
if quiet > t then
  redis.call('ZADD', P..'callbacks', quiet, id); free(host)
  return 'LATER'
end
if is_busy and older ~= epoch then  -- a try for an older attempt is on its way: it comes first
  redis.call('ZADD', P..'callbacks', busy, id)
  return 'LATER'
end
redis.call('HSET', hook, 'busy_until', t + tonumber(ARGV[5]), 'busy_epoch', epoch); keep(hook)
redis.call('ZADD', P..'callbacks-out', t + tonumber(ARGV[5]), host)
return 'OK'
""",
    # epoch, tries, try as JSON, outcome, seconds to the next try, 1 if nobody answered, shortest and longest rest -> nothing
    "end_callback": FREE
    + """
local hook, t = rec..':callback', tonumber(now())
local epoch, tries, outcome, host = unpack(redis.call('HMGET', hook, 'epoch', 'tries', 'outcome', 'host'))
if not epoch then return end
free(host)
local receiver = P..'callback-host:'..host
if ARGV[8] == '1' then
  local fails = redis.call('HINCRBY', receiver, 'fails', 1)
  local rest = math.min(tonumber(ARGV[10]), tonumber(ARGV[9]) * 2 ^ math.min(fails - 1, 20))
  redis.call('HSET', receiver, 'quiet_until', t + rest); redis.call('EXPIRE', receiver, 86400)
else redis.call('DEL', receiver) end
redis.call('RPUSH', hook..'-tries', ARGV[5]); redis.call('LTRIM', hook..'-tries', -50, -1); keep(hook..'-tries')
redis.call('HDEL', hook, 'busy_until', 'busy_epoch')
if epoch ~= ARGV[3] or tries ~= ARGV[4] then  -- a newer end has waited for this try
  if outcome == 'PENDING' then redis.call('ZADD', P..'callbacks', 'LT', t, id) end
  return
end
redis.call('HSET', hook, 'tries', tries + 1, 'outcome', ARGV[6], 'due', t + tonumber(ARGV[7]))
if ARGV[6] == 'PENDING' then redis.call('ZADD', P..'callbacks', t + tonumber(ARGV[7]), id)
else redis.call('ZREM', P..'callbacks', id); redis.call('HDEL', hook, 'due') end
""",
    # -> {the request, the callback as a flat list, its tries} or EXPIRED | UNKNOWN
    "read_callbacks": """
if not get('state') then return missing() end
return {get('request'), redis.call('HGETALL', rec..':callback'), redis.call('LRANGE', rec..':callback-tries', 0, -1)}
""",
}
