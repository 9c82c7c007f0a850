"""The operations of a session store as Lua scripts, which Redis runs one at a time; see :mod:`.redis`.

``KEYS[1]`` is a session, ``KEYS[2]`` the sorted set of its user's (``KEYS[1]`` where no session is needed).
Times are milliseconds.
"""

from scalekit._redis import Script

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# What something else has written may look like a number to Lua ('0x10', 'nan') and be none to us.
_MOMENT = """
local function moment(text)
  return type(text) == 'string' and #text <= 18 and string.find(text, '^%d+$') and tonumber(text)
end
"""

# Who extends a session has seen it: `idle` and `deadline` are numbers.
_EXPIRY = """
local expiry = math.min(idle, deadline - now)
if expiry <= 0 then
  redis.call('DEL', KEYS[1])
  return false
end
expiry = string.format('%.0f', expiry)
local seen = string.format('%.0f', now)
"""

# What is of another type is nothing of ours. Any other error is the server's, no permission for instance.
_REFUSED = """
local function refused(reply)
  return type(reply) == 'table' and reply.err and not string.find(reply.err, 'WRONGTYPE', 1, true)
end
"""

# pcall, because a key that is no hash is nothing of ours. What has most of its idle time left was seen a
# moment ago; only the others are looked at closer. A mark has two fields at most, a session three and more.
# One without an expiry, or with too long a one, was not left so by us: it still ends at its deadline.
# What a session was rotated to says with '0' that no browser has come with it, or '1', and since when. An
# alias says that of itself in its other field.
LOAD = Script(
    _MOMENT
    + _REFUSED
    + """
local flat = redis.pcall('HGETALL', KEYS[1])
local function say(name, number)
  flat[#flat + 1] = name
  flat[#flat + 1] = string.format('%.0f', number)
  return flat
end
if refused(flat) then return flat end
if flat.err then return 0 end
local size = #flat
if size == 0 then return false end
local idle, step, own = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local rotated = redis.call('HGET', KEYS[1], '\\0rotated')
if not (rotated or own) then rotated = redis.call('HGET', KEYS[1], '\\0alias') end
local heard, since = string.match(rotated or '', '^([01]):(%d+)')
if since and not (own and heard == '1') then
"""
    + _NOW
    + """
  if not own then
    say('\\0since', math.max(0, now - tonumber(since)))
  elseif redis.call('HEXISTS', KEYS[1], '\\0deadline') == 1 then
    redis.pcall('HSET', KEYS[1], '\\0rotated', string.format('1:%.0f', now))
  end
end
local left = redis.call('PTTL', KEYS[1])
if size > 4 and left >= 0 and left <= idle and idle - left < step then return say('\\0age', idle - left) end
local meta = redis.call('HMGET', KEYS[1], '\\0deadline', '\\0created', '\\0seen')
local deadline = moment(meta[1])
if not deadline or not moment(meta[2]) then return flat end
"""
    + _NOW
    + """
local age = now - (moment(meta[3]) or 0)
if left >= 0 and now < deadline and age < step then return say('\\0age', age) end
"""
    + _EXPIRY
    + """
-- A server that is out of memory may not note it; reading goes on all the same.
redis.pcall('HSET', KEYS[1], '\\0seen', seen)
redis.call('PEXPIRE', KEYS[1], expiry)
return say('\\0age', 0)
"""
)

SAME = 1
"""What RELOAD answers if nobody has saved the session since, and it has its deadline and as many fields. One
without a version, which a tool has deleted, is never known to be the same."""

RELOAD = Script(
    """
local meta = redis.call('HMGET', KEYS[1], '\\0deadline', '\\0version')
local same = meta[1] == ARGV[1] and meta[2] == ARGV[2]
if same and redis.call('HLEN', KEYS[1]) == tonumber(ARGV[3]) then return 1 end
return redis.call('HGETALL', KEYS[1])
"""
)

_ALIVE = (
    _MOMENT
    + _REFUSED
    + """
local text = redis.pcall('HGET', KEYS[1], '\\0deadline')
if refused(text) then return text end
local deadline = moment(text)
-- First: a session that another request has ended must stay ended.
if not deadline then return false end
local idle = tonumber(ARGV[1])
"""
)

# The version first: a server that is out of memory refuses it, and nothing after a write that it has let
# through. Lua passes at most some thousands of values at once, hence the slices.
SAVE = Script(
    _ALIVE
    + _NOW
    + _EXPIRY
    + """
local first = 4 + tonumber(ARGV[3])
local last = math.min(first + 999, #ARGV)
redis.call('HSET', KEYS[1], '\\0version', ARGV[2], '\\0seen', seen, unpack(ARGV, first, last))
redis.call('PEXPIRE', KEYS[1], expiry)
for i = last + 1, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for i = 4, first - 1, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 999, first - 1)))
end
return 1
"""
)

# Each of the two values is a flag and the value, as one that is empty is there all the same.
SWAP = Script(
    _ALIVE
    + """
local found = redis.call('HGET', KEYS[1], ARGV[3])
local expected = ARGV[4] == '1' and ARGV[5]
if found ~= expected then return {0, found} end
"""
    + _NOW
    + _EXPIRY
    + """
redis.call('HSET', KEYS[1], '\\0version', ARGV[2], '\\0seen', seen)
redis.call('PEXPIRE', KEYS[1], expiry)
if ARGV[6] == '1' then
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[7])
else
  redis.call('HDEL', KEYS[1], ARGV[3])
end
return {1}
"""
)

# Those whose deadline has passed go on the way, and the set itself with the last of them. The ZADD first: a
# server that is out of memory refuses it, and nothing after a write that it has let through.
_ENLIST = """
redis.call('ZADD', index, deadline, id)
redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', index, string.format('%.0f', last[2])) end
"""

CREATE = Script(
    """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
"""
    + _NOW
    + """
local created = ARGV[3] ~= '' and tonumber(ARGV[3]) or now
local deadline = ARGV[4] ~= '' and tonumber(ARGV[4]) or now + tonumber(ARGV[2])
local expiry = math.min(tonumber(ARGV[1]), deadline - now)
if expiry <= 0 then return false end
created, deadline = string.format('%.0f', created), string.format('%.0f', deadline)
local index, id = KEYS[2], ARGV[8]
if index then
"""
    + _ENLIST
    + """
end
local seen = string.format('%.0f', now)
redis.call(
  'HSET', KEYS[1], '\\0created', created, '\\0deadline', deadline, '\\0seen', seen, '\\0version', ARGV[10]
)
for i, name in ipairs({'\\0origin', '\\0user', '\\0device'}) do
  if ARGV[i + 4] ~= '' then redis.call('HSET', KEYS[1], name, ARGV[i + 4]) end
end
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], '\\0rotated', '0:' .. seen .. ARGV[9]) end
for i = 11, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', expiry))
return {created, deadline, string.format('%.0f', tonumber(deadline) - now)}
"""
)

LIST = Script("local index, id, deadline = KEYS[1], ARGV[1], ARGV[2]" + _NOW + _ENLIST)

LISTED = Script(_NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')")

# What is no set lists nobody, and must not keep anybody from logging out.
_STRIKE = """
local struck = redis.pcall('ZREM', index, id)
if refused(struck) then return struck end
"""

STRIKE = Script(_REFUSED + "local index, id = KEYS[1], ARGV[1]" + _STRIKE + "return 1")

# The mark that it ended is a courtesy: a server out of memory may refuse it, the session has ended then too.
DESTROY = Script(
    _REFUSED
    + """
local flat = redis.pcall('HGETALL', KEYS[1])
if refused(flat) then return flat end
local alive = not flat.err and redis.call('HEXISTS', KEYS[1], '\\0deadline') == 1
if alive and ARGV[5] ~= '' and (redis.call('HGET', KEYS[1], '\\0version') or '0') ~= ARGV[5] then
  return flat
end
local index, id = KEYS[2], ARGV[4]
if index then
"""
    + _STRIKE
    + """
end
if flat.err or #flat == 0 then return false end
if not alive then
  return redis.call('HEXISTS', KEYS[1], '\\0ended') == 1 and flat
end
local rotated = redis.call('HGET', KEYS[1], '\\0rotated') or ''
redis.call('DEL', KEYS[1])
if tonumber(ARGV[1]) > 0 then
  redis.pcall('HSET', KEYS[1], '\\0ended', ARGV[2])
  if ARGV[3] == '1' then redis.pcall('HSET', KEYS[1], '\\0alias', rotated) end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return flat
"""
)
