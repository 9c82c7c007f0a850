"""The records of tags: the rules, and that Redis's scripts are their twin."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit._redis import Redis, Script
from scalekit.cache import redis_scripts, versions
from tests.servers import RedisServer

NOW = 1_790_000_000_000
ONE, TWO = b"1" * 8, b"2" * 8


def test_a_record_that_is_none_has_no_version() -> None:
    """12. Missing, dirty, cut off or of another kind: a miss."""
    record = versions.pack(b"v" * 8, NOW, "position")
    assert versions.parse(record) == (b"v" * 8, NOW, "position")
    for other in (None, b"", b"V", record[:16], b"D", b"W" + record[1:]):
        assert versions.parse(other) is None
        assert versions.version_of(other) is None


def test_a_position_is_left_out_where_it_is_too_long() -> None:
    """It is never cut off: a part of one could be taken for another."""
    fits, long = "x" * versions.MAX_POSITION, "ü" * (versions.MAX_POSITION // 2) + "x"
    found = [versions.parse(versions.pack(b"v" * 8, NOW, position)) for position in (fits, long, "", None)]
    assert [version.position for version in found if version] == [fits, None, None, None]


def test_a_tag_is_dirty_until_the_last_writer_is_done() -> None:
    """8, 9. Or until the marks have ended by themselves."""
    record = versions.marked(versions.pack(b"v" * 8, NOW), ONE, now=NOW, ends=NOW + 100)
    record = versions.marked(record, TWO, now=NOW, ends=NOW + 200)
    assert versions.writers(record, NOW) == {ONE: NOW + 100, TWO: NOW + 200}
    assert versions.writers(record, NOW + 100) == {TWO: NOW + 200}
    record = versions.dropped(record, now=NOW)
    assert versions.writers(record, NOW) == {ONE: NOW + 100, TWO: NOW + 200}
    record = versions.bumped(record, ONE, now=NOW, position="p")
    assert versions.version_of(record) is None
    after = versions.parse(versions.bumped(record, TWO, now=NOW + 5, position="p"))
    assert after is not None
    assert after.birth == NOW + 5
    assert after.version != b"v" * 8


@pytest.mark.parametrize(
    ("steps", "position"),
    [
        ([("mark", ONE), ("bump", ONE)], "p"),
        ([("mark", ONE), ("mark", ONE), ("bump", ONE)], "p"),
        ([("mark", ONE), ("mark", TWO), ("bump", ONE), ("bump", TWO)], None),
        ([("mark", ONE), ("mark", TWO), ("bump", TWO), ("bump", ONE)], None),
        ([("mark", ONE), ("mark", TWO), ("bump", TWO), ("drop", TWO), ("bump", ONE)], None),
        ([("mark", ONE), ("drop", ONE), ("bump", ONE)], None),  # dropped for what was committed later
        ([("mark", ONE), ("end", ONE), ("mark", TWO), ("bump", TWO)], None),  # the other may have committed
        ([("mark", ONE), ("end", ONE), ("bump", ONE)], None),
        ([("bump", ONE)], None),
        ([("mark", ONE), ("mark", TWO), ("bump", ONE), ("bump", TWO), ("mark", ONE), ("bump", ONE)], "p"),
    ],
)
def test_the_position_of_the_last_commit(steps: list[tuple[str, bytes]], position: str | None) -> None:
    """10. Who is the last to take its mark away has not committed last: then nobody knows the position."""
    record, now = versions.pack(b"v" * 8, NOW), NOW
    for step, writer in steps:
        if step == "mark":
            record = versions.marked(record, writer, now=now, ends=now + 100)
        elif step == "bump":
            record = versions.bumped(record, writer, now=now, position="p")
        elif step == "drop":
            record = versions.dropped(record, now=now)
        else:
            now += 200
    version = versions.parse(record)
    assert version is not None
    assert version.position == position


writers = st.sampled_from([ONE, TWO, b"3" * 8])
steps = st.one_of(
    st.tuples(st.just("mark"), writers, st.integers(1, 5000)),
    st.tuples(st.just("bump"), writers, st.sampled_from(["", "pg 0/16B3748", "ü", "x" * 200])),
    st.tuples(st.just("drop"), st.none(), st.none()),
    st.tuples(st.just("ask"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.none(), st.integers(1, 3000)),
    st.tuples(st.just("evict"), st.none(), st.none()),
)


def _at(script: Script) -> Script:
    """A script with a clock that is its last argument. What it writes does not end meanwhile by Redis's."""
    source = script.source.replace(redis_scripts.NOW, "local now = tonumber(table.remove(ARGV))\n")
    assert source != script.source
    return Script(source.replace("'PX', last - now", "'PX', 1000000"))


MARK, BUMP, DROP_TAGS, RECORD = map(
    _at, (redis_scripts.MARK, redis_scripts.BUMP, redis_scripts.DROP_TAGS, redis_scripts.RECORD)
)


def _same(here: bytes | None, there: bytes | None) -> bool:
    """Whether two records say the same: versions are random."""
    if here is not None and there is not None and here[:1] == there[:1] == b"V":
        return here[9:] == there[9:]
    return here == there


def test_the_scripts_are_their_twin(redis_server: RedisServer, prefix: str) -> None:
    """9. Whatever writers do, one after the other, Redis's record of a tag is what the rules say."""
    commands: Any = Redis.from_url(redis_server.url, timeout=10).using("sync")
    key = prefix + "t:a"

    @settings(max_examples=150, deadline=None)
    @given(st.lists(steps, max_size=12))
    def check(sequence: list[tuple[str, bytes | None, Any]]) -> None:
        commands.execute("DEL", key)
        record, now = None, NOW
        for step, writer, more in sequence:
            if step == "mark":
                record = versions.marked(record, writer or b"", now=now, ends=now + more)
                commands.script(MARK, [key], [writer, more, now])
            elif step == "bump":
                lost = commands.script(BUMP, [key], [writer, versions.new_version(), more, now])
                assert lost == (writer not in versions.writers(record, now))
                record = versions.bumped(record, writer or b"", now=now, position=more)
            elif step == "drop":
                record = versions.dropped(record, now=now)
                commands.script(DROP_TAGS, [key], [versions.new_version(), now])
            elif step == "ask":
                if record is None or (record[:1] == b"D" and not versions.writers(record, now)):
                    record = versions.pack(versions.new_version(), now)
                found, clock = commands.script(RECORD, [key], [versions.new_version(), now])
                assert _same(record, found)
                assert clock == now
            elif step == "wait":
                now += more
            else:
                record = None
                commands.execute("DEL", key)
            assert _same(record, commands.execute("GET", key))

    check()
    commands.close()


@pytest.mark.parametrize("first", [60_000, 5_000])
def test_a_dirty_record_lasts_as_long_as_its_last_mark(
    redis_server: RedisServer, prefix: str, first: int
) -> None:
    """9. A shorter mark does not end a longer one; and when all have ended Redis has forgotten them."""
    commands: Any = Redis.from_url(redis_server.url, timeout=10).using("sync")
    key = prefix + "t:a"
    for writer, left in ((ONE, first), (TWO, 65_000 - first)):
        commands.script(redis_scripts.MARK, [key], [writer, left])
    assert 40_000 < commands.execute("PTTL", key) <= 60_000
    shorter, longer = (ONE, TWO) if first < 60_000 else (TWO, ONE)
    commands.script(redis_scripts.DROP_TAGS, [key], [b"v" * 8])
    assert 40_000 < commands.execute("PTTL", key) <= 60_000
    commands.script(redis_scripts.BUMP, [key], [shorter, b"v" * 8, ""])
    assert 40_000 < commands.execute("PTTL", key) <= 60_000
    commands.script(redis_scripts.BUMP, [key], [longer, b"v" * 8, ""])
    assert commands.execute("PTTL", key) > 60_000
    commands.close()
