"""What the cache's back end has Redis do at one stroke. Redis 5 or later: they ask for the time, and write.

The records of tags are those of :mod:`scalekit.cache.versions`, and what changes them is its twin; what is
under keys is that of :mod:`scalekit.cache.entry`. Times are the server's own, so that clocks of processes
that differ do no harm.

What is dropped can be dropped when memory is full, too. Redis then refuses commands that take some, but not
to a script that has written before, so these scripts begin with a PEXPIRE.

A script that drops something says so in the stream that is its first key. An entry there is ``n <number>``
and what was dropped: ``t <tag>``, ``k <key>``, ``g 1`` for everything; as many as there are. A number is the
last entry's plus one, or microseconds since 1970 if the stream is empty: after a stream that was deleted,
evicted or lost comes no number that follows one that was heard.
"""

from scalekit._redis import Script
from scalekit.cache.entry import LONGEST_LEASE

KEEP = 30 * 24 * 3600
"""Seconds. Records that no miss has asked for in so long may go; a result would have to be older to miss
them."""

# So many messages are kept, about 20 kB of them; a reader who is further behind has lost the channel.
_LENGTH = 1000

NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

SAY = f"""
local function say(stream, ...)
    local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    local number = last and tonumber(last[2][2])
    if not number then
        local time = redis.call('TIME')
        number = time[1] * 1000000 + time[2]
    end
    redis.call('PEXPIRE', stream, {KEEP * 1000})
    redis.call('XADD', stream, 'MAXLEN', '~', {_LENGTH}, '*', 'n', string.format('%.0f', number + 1), ...)
    if not last then
        redis.call('PEXPIRE', stream, {KEEP * 1000})
    end
end
"""
"""What a script begins with that has something to say: ``say(KEYS[1], 't', 'product', 'k', key)``."""

_MARKS = """
-- The marks in a record that have not ended, with `own` for the one of `writer`; when the last one of the
-- others ends; whether there was one of `writer`; and whether anybody else has marked it.
local function marks(record, writer, own)
    local rest, last, found, others = '', 0, false, false
    if record and string.sub(record, 1, 1) == 'D' then
        for at = 2, #record - 15, 16 do
            local ends, mine = struct.unpack('>I8', record, at + 8), string.sub(record, at, at + 7) == writer
            others = others or not mine
            if ends > now then
                if mine then
                    found, rest = true, rest .. own
                else
                    rest, last = rest .. string.sub(record, at, at + 15), math.max(last, ends)
                end
            end
        end
    end
    return rest, last, found, others
end
local function keep_marks(key, rest, last, others)
    redis.call('SET', key, 'D' .. rest .. string.rep('\0', others and 16 or 0), 'PX', last - now)
end
"""

_RENEW = f"""
local function renew(key, version, position)
    local record = 'V' .. version .. struct.pack('>I8', now) .. position
    redis.call('SET', key, record, 'PX', {KEEP * 1000})
    return record
end
"""

_HISTORY = """
-- What tells this server's data from those of another one and of its own past: the first eight bytes, in
-- hexadecimal, of the replication id that a server has since it became a primary, by its start or by a
-- promotion. Empty if that is not to be had. And whether this is a replica: it has its primary's.
local function history()
    local info = redis.pcall('INFO', 'replication')
    if type(info) ~= 'string' then
        return '', false
    end
    local id = 'master_replid:(' .. string.rep('%x', 16) .. ')'
    return string.match(info, id) or '', string.find(info, 'role:slave', 1, true) ~= nil
end
"""

_RECORD = (
    _RENEW
    + f"""
-- The record of a tag. One without a version and without marks that last, or that is none of ours, gets one.
local function record_of(key, version)
    local record = redis.call('GET', key)
    local kind = record and string.sub(record, 1, 1)
    if not ((kind == 'V' and #record >= 17) or (kind == 'D' and marks(record, '', '') ~= '')) then
        return renew(key, version, '')
    end
    redis.call('PEXPIRE', key, {KEEP * 1000})
    return record
end
"""
)

_TAKE = (
    f"""
local longest, cooling = {LONGEST_LEASE * 1000:.0f}, string.rep('\\0', 16)
"""
    + """
-- A lease on a key: {what came of it, more about that}. With `found`, the beginning of what was there, only
-- that is replaced; and a lease only if `sure`, as the versions that it is under may be newer than these.
local function take(key, versions, token, ttl, refresh, found, sure)
    local count = #versions / 8
    local value = redis.call('GETRANGE', key, 0, 46 + #versions)
    local kind, start = string.sub(value, 1, 1), 0
    if kind == 'R' then
        start = 25
    end
    local current
    if kind == 'L' then
        current = string.sub(value, 18) == versions
    elseif kind == 'E' or kind == 'R' or kind == 'P' then
        current = string.sub(value, start + 2, start + 2 + #versions) == string.char(count) .. versions
    end
    local entry = current and (kind == 'E' or kind == 'R') and #value >= start + 22 + #versions
    if entry and refresh == '1' then
        local right = token .. struct.pack('>I8', now + ttl)
        if kind == 'E' then
            local left, whole = redis.call('PTTL', key), redis.call('GET', key)
            if left > 0 then
                redis.call('SET', key, 'R' .. right .. whole, 'PX', left)
            else
                redis.call('SET', key, 'R' .. right .. whole)
            end
            return {'mine', ttl}
        end
        local holder, left = string.sub(value, 2, 17), struct.unpack('>I8', value, 18) - now
        if left > 0 and (left <= longest or holder == cooling) then
            return {'held', left, holder}
        end
        redis.call('SETRANGE', key, 1, right)
        return {'mine', ttl}
    end
    if entry or (current and kind == 'P') or refresh == '1' then
        return {'found', redis.call('GET', key)}
    end
    if current and kind == 'L' then
        local left = redis.call('PTTL', key)
        if left >= 0 and left <= longest then
            return {'held', left, string.sub(value, 2, 17)}
        end
    end
    local mine = kind == 'L' and string.sub(value, 2, 17) == token
    if found and value ~= '' and not current and not mine then
        if value ~= found or (kind == 'L' and sure ~= '1') then
            return {'other', value}
        end
    end
    redis.call('SET', key, 'L' .. token .. versions, 'PX', ttl)
    return {'mine', ttl}
end
"""
)

ACQUIRE = Script(
    NOW
    + _MARKS
    + _RECORD
    + _TAKE
    + """
local records, versions = {}, ''
for at = 2, #KEYS do
    local record = record_of(KEYS[at], string.sub(ARGV[1], at * 8 - 15, at * 8 - 8))
    records[at - 1] = record
    if string.sub(record, 1, 1) ~= 'V' then
        return {{'dirty'}, now, records}
    end
    versions = versions .. string.sub(record, 2, 9)
end
return {take(KEYS[1], versions, ARGV[2], tonumber(ARGV[3]), ARGV[4]), now, records}
"""
)
"""A lease on ``KEYS[1]`` under the tags that are the other keys. Gives what came of it, the time, and the
tags' records. ``ARGV``: versions for tags that have none, a token, for how long, and whether to refresh (1,
0)."""

RECORD = Script(NOW + _MARKS + _RECORD + "return {record_of(KEYS[1], ARGV[1]), now}")
"""The record of one tag and the time; it gets the version ``ARGV[1]`` if it has none."""

TAKE = Script(
    NOW + _TAKE + "return take(KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6])"
)
"""What ``ACQUIRE`` does with the key, under the versions ``ARGV[1]``. These may be outdated by now, and what
is there of newer ones: so nothing is replaced but what was found, whose beginning is ``ARGV[5]``, see
:func:`head_of`; and a lease only with ``ARGV[6]`` 1, if the versions were read after it. Else it gives
``other``, and the beginning of what is there."""


def head_of(value: bytes | None, versions: bytes) -> bytes:
    """As much of what is under a key as ``TAKE`` looks at."""
    return (value or b"")[: 47 + len(versions)]


_IN_PLACE = """
local kind = redis.call('GETRANGE', KEYS[1], 0, 16)
local token = string.sub(kind, 2)
kind = string.sub(kind, 1, 1)
if token ~= ARGV[1] or (kind ~= 'L' and kind ~= 'R') then
    return 0
end
"""

RENEW = Script(
    NOW
    + _IN_PLACE
    + """
if kind == 'L' then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
    redis.call('SETRANGE', KEYS[1], 17, struct.pack('>I8', now + ARGV[2]))
end
return 1
"""
)
"""Whether the lease with the token ``ARGV[1]`` is in place; if so, it lasts ``ARGV[2]`` from now."""

FILL = Script(
    _IN_PLACE
    + """
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
)
"""Store ``ARGV[2]`` for ``ARGV[3]`` if the lease with the token ``ARGV[1]`` is in place; whether it was."""

RELEASE = Script(
    _IN_PLACE
    + """
if kind == 'R' then
    local left, entry = redis.call('PTTL', KEYS[1]), string.sub(redis.call('GET', KEYS[1]), 26)
    if left > 0 then
        redis.call('SET', KEYS[1], entry, 'PX', left)
    else
        redis.call('SET', KEYS[1], entry)
    end
elseif ARGV[2] ~= '' then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
    redis.call('DEL', KEYS[1])
end
return 1
"""
)
"""Give the lease with the token ``ARGV[1]`` back; ``ARGV[2]``, if it is not empty, is put there for
``ARGV[3]``."""


def _changing(arguments: int, begin: str, each: str, kind: str, end: str = "return 1") -> Script:
    """A script that changes every key. After the first ``arguments`` come the keys' names, of those that are
    said in the stream, which is then the last key. On a Cluster that is elsewhere, and no name is given."""
    return Script(
        NOW
        + SAY
        + _MARKS
        + _RENEW
        + f"""
local count, said = #KEYS, {{}}
local says = #ARGV > {arguments}
if says then
    count = count - 1
end
{begin}
local left = redis.call('PTTL', KEYS[1])
redis.call('PEXPIRE', KEYS[1], left > 0 and left or {KEEP * 1000})
for at = 1, count do
    local key, news = KEYS[at], true
    {each}
    if says and news then
        said[#said + 1] = '{kind}'
        said[#said + 1] = ARGV[{arguments} + at]
    end
end
if #said > 0 then
    say(KEYS[#KEYS], unpack(said))
end
{end}
"""
    )


DROP = _changing(0, "", "redis.call('DEL', key)", "k")
"""Remove keys, and say so. ``ARGV``: their names in the stream."""

DROP_TAGS = _changing(
    1,
    "",
    """
    local rest, last = marks(redis.call('GET', key), '', '')
    if rest ~= '' then
        -- What it is dropped for may have been committed after these.
        keep_marks(key, rest, last, true)
    else
        renew(key, string.sub(ARGV[1], at * 8 - 7, at * 8), '')
    end
    """,
    "t",
)
"""Give tags the versions ``ARGV[1]``, but for those that have marks, and say so."""

MARK = _changing(
    2,
    """
local ends = now + ARGV[2]
local own = ARGV[1] .. struct.pack('>I8', ends)
    """,
    """
    local rest, last, found, others = marks(redis.call('GET', key), ARGV[1], own)
    if not found then
        rest = rest .. own
    end
    keep_marks(key, rest, math.max(last, ends), others)
    """,
    "t",
)
"""Mark tags as being changed by the writer ``ARGV[1]`` for ``ARGV[2]``, and say so."""

BUMP = _changing(
    3,
    "local lost = 0",
    """
    local rest, last, found, others = marks(redis.call('GET', key), ARGV[1], '')
    if rest ~= '' then
        keep_marks(key, rest, last, true)
    else
        -- Of those who overlap nobody knows who has committed last.
        renew(key, string.sub(ARGV[2], at * 8 - 7, at * 8), found and not others and ARGV[3] or '')
    end
    if found then
        news = false
    else
        lost = lost + 1
    end
    """,
    "t",
    "return lost",
)
"""Take the marks of the writer ``ARGV[1]`` away, and give tags without others the versions ``ARGV[2]`` and
the position ``ARGV[3]``. Where its mark was gone, something older may have been read since: only that is
news. Gives the number of these."""

RENEW_GENERATION = _changing(
    2,
    _HISTORY
    + """
local record = redis.call('GET', KEYS[1])
if ARGV[2] ~= '' and record and string.sub(record, 1, 1) == 'V' and #record >= 17 then
    local age = now - struct.unpack('>I8', record, 10)
    if age <= tonumber(ARGV[2]) then
        return 0
    end
end
    """,
    "renew(key, ARGV[1], (history()))",
    "g",
)
"""Give the generation the version ``ARGV[1]`` if it is older than ``ARGV[2]`` (empty: however old), and say
so; whether it did."""

SAME, NEW, OTHER, UNKNOWN = range(4)

CHECK_HISTORY = Script(
    NOW
    + SAY
    + _RENEW
    + _HISTORY
    + f"""
local here, replica = history()
if replica then
    return redis.error_reply('READONLY it is a replica, and may be behind')
end
local record = redis.pcall('GET', KEYS[1])
if here == '' then
    return {UNKNOWN}
elseif type(record) == 'table' then
    return {SAME} -- another program's, which no result is valid with
elseif record and string.sub(record, 1, 1) == 'V' and string.sub(record, 18) == here then
    return {SAME}
end
redis.call('PEXPIRE', KEYS[1], {KEEP * 1000})
renew(KEYS[1], ARGV[1], here)
if not record then
    return {NEW}
end
say(KEYS[2], 'g', '1')
return {OTHER}
"""
)
"""Give the generation ``KEYS[1]`` the version ``ARGV[1]`` if it comes from another history of the data than
this server's, or nobody knows from which, and say so in the stream ``KEYS[2]``. Gives ``SAME``; ``NEW`` if
there was none; ``OTHER``; or ``UNKNOWN`` if the server does not say which history it has. A replica refuses:
a connection that was opened before its promotion would go on after it."""

TELL = Script(SAY + "say(KEYS[1], unpack(ARGV)) return 1")
"""Say something, in a script of its own: where the stream is on another node than what was changed."""
