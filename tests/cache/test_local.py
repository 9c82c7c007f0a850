"""The first tier alone: what it keeps, for how long, and what it forgets."""

import random
import threading
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from scalekit.cache.local import OVERHEAD, Local


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(**options: Any) -> tuple[Local, Clock]:
    clock = Clock()
    return Local(**{"max_entries": 100, "ttl": 10, "clock": clock, **options}), clock


def put(
    local: Local, key: str, *, tags: tuple[str, ...] = (), ends: float = 1e9, size: int = 0, value: Any = None
) -> None:
    local.put(("f", key), key, local.mark(tags), value, ends=ends, size=size, tags=tags, decode=bytes)


def kept(local: Local, keys: Iterable[str]) -> str:
    return "".join(key for key in keys if local.get(("f", key)))


def test_without_reports_the_time_counts_from_the_question() -> None:
    """8. At most the tier's own time after the back end was asked, however long it took to answer."""
    local, clock = make(ttl=10)
    mark = local.mark()
    clock.now = 9.9
    local.put(("f", "a"), "a", mark, None, ends=100, size=0, tags=())
    put(local, "b")
    put(local, "c", ends=15)
    assert kept(local, "abc") == "abc"
    clock.now = 10
    assert kept(local, "abc") == "bc"
    clock.now = 15
    assert kept(local, "abc") == "b"
    clock.now = 19.9
    assert kept(local, "abc") == ""


def test_with_reports_the_horizon_bounds_what_is_served() -> None:
    """16. Nothing is served past it, all again when it has moved; nothing after a flush before it moves."""
    local, clock = make(reported=True, ttl=10)
    put(local, "a", ends=100)
    assert kept(local, "a") == ""  # nobody has reported yet
    local.trust(5)
    assert kept(local, "a") == "a"
    clock.now = 5
    assert kept(local, "a") == ""
    local.trust(80)
    clock.now = 79
    assert kept(local, "a") == "a"  # its own time, not the tier's
    put(local, "b", ends=100)
    local.flush()
    assert kept(local, "ab") == ""
    put(local, "b", ends=100)
    assert kept(local, "b") == ""
    local.trust(99)
    assert kept(local, "ab") == "b"


def test_dropping() -> None:
    """6. A key, or a tag: all that carry it and nothing else, also after an entry was replaced."""
    local, _ = make()
    put(local, "a", tags=("t", "u"))
    put(local, "b", tags=("t",))
    put(local, "c", tags=("u",))
    put(local, "d")
    local.drop({"d"}, ())
    assert kept(local, "abcd") == "abc"
    put(local, "a", tags=("v",))
    local.drop((), {"u", "nobody's"})
    assert kept(local, "abcd") == "ab"
    local.drop((), {"t"})
    assert kept(local, "abcd") == "a"
    local.drop((), {"v"})
    assert len(local) == local.bytes == 0
    assert not local._by_key
    assert not local._by_tag


def test_one_key_under_two_local_ones() -> None:
    """A module that was loaded twice has two cached functions of one name; a drop reaches both."""
    local, _ = make()
    for number in (1, 2):
        local.put((number,), "k", local.mark(), None, ends=9, size=0, tags=())
    local.drop({"k"})
    assert len(local) == 0


@pytest.mark.parametrize("what", ["key", "tag", "flush"])
def test_what_was_read_before_an_invalidation_is_not_kept_after_it(what: str) -> None:
    """6, 17. A reply of the back end that is overtaken is discarded; what others dropped does not matter."""
    local, _ = make()

    def forget(key: str, tag: str) -> None:
        if what == "key":
            local.drop({key})
        elif what == "tag":
            local.drop((), {tag})
        else:
            local.flush()

    mark = local.mark(("t",))
    forget("k", "t")
    local.put("l", "k", mark, "old", ends=9, size=0, tags=("t",))
    assert local.get("l") is None
    mark = local.mark(("t",))
    if what != "flush":
        forget("other", "other")
    local.put("l", "k", mark, "new", ends=9, size=0, tags=("t",))
    entry = local.get("l")
    assert entry is not None
    assert entry.value == "new"


def test_the_drops_that_are_remembered_are_bounded() -> None:
    """A name for every user, dropped once each. A mark from before what is remembered is not believed."""
    local, _ = make()
    early = local.mark()
    for number in range(20_000):
        local.drop((), {f"user:{number}"})
    assert len(local._dropped) < 10_000
    late = local.mark()
    local.drop((), {"user:1"})
    local.put("a", "a", early, None, ends=9, size=0, tags=("never dropped",))
    local.put("b", "b", late, None, ends=9, size=0, tags=("user:1",))
    local.put("c", "c", late, None, ends=9, size=0, tags=("user:2",))
    assert [local.get(key) is not None for key in "abc"] == [False, False, True]


def test_bounded_by_entries_and_by_bytes() -> None:
    """Never more than either; one that is too large by itself drives nothing out."""
    local, _ = make(max_entries=50)
    for number in range(500):
        put(local, str(number))
        assert len(local) <= 50
    local, _ = make(max_entries=10**6, max_bytes=100 * (OVERHEAD + 100))
    for number in range(500):
        put(local, str(number), size=100)
        assert local.bytes <= 100 * (OVERHEAD + 100)
    assert len(local) == 100
    put(local, "large", size=20 * (OVERHEAD + 100))
    assert len(local) == 100
    assert local.get(("f", "large")) is None


def test_an_object_counts_by_what_it_takes_in_memory() -> None:
    """Several times its payload."""
    local, _ = make()
    local.put("a", "a", local.mark(), b"payload", ends=9, size=1000, tags=(), decode=bytes)
    as_payload = local.bytes
    local.put("a", "a", local.mark(), ("decoded",), ends=9, size=1000, tags=())
    assert local.bytes == as_payload + 4000


def test_what_is_asked_for_once_drives_nothing_out() -> None:
    """A crawler passes through a tenth of the room; what returns soon after it was driven out may stay."""
    local, _ = make(max_entries=100)
    popular = [f"p{number}" for number in range(80)]
    for key in popular:
        put(local, key)
        local.get(("f", key))
    for number in range(1000):
        put(local, f"crawled {number}")
    assert all(local.find(("f", key)) for key in popular)
    local, _ = make(max_entries=100)
    for number in range(120):
        put(local, str(number))
    assert local.find(("f", "1")) is None
    put(local, "1")  # again: it goes to the long queue
    put(local, "new")
    for number in range(200, 350):
        put(local, str(number))
    assert [local.find(("f", key)) is not None for key in ("1", "new")] == [True, False]


def test_entries_that_come_and_go_leave_nothing() -> None:
    """A result that is dropped and computed again all the time: the queues do not grow."""
    local, _ = make()
    for _ in range(5000):
        put(local, "a", tags=("t",))
        local.drop((), {"t"})
    assert sum(map(len, local._queues)) < 200


def test_switched_off() -> None:
    """No entries, no bytes or no time: nothing is kept."""
    for options in ({"max_entries": 0}, {"max_bytes": 0}, {"ttl": 0}):
        local, _ = make(**options)
        put(local, "a")
        assert not local.enabled
        assert len(local) == 0


def test_it_is_what_a_plain_model_says() -> None:
    """Thousands of random steps: an entry is there only if the model has it, and all indexes agree."""
    rng = random.Random(5)
    local, clock = make(max_entries=20, max_bytes=20 * (OVERHEAD + 150), ttl=50)
    model: dict[str, tuple[int, tuple[str, ...], float]] = {}
    marks: list[tuple[Any, set[str], bool]] = []
    hits = most = 0
    for step in range(8000):
        key, tags = rng.choice("abcdefghijklmnopqrstuvwxyzABCD"), tuple(rng.sample("tuvw", rng.randrange(3)))
        match rng.randrange(8):
            case 0:
                names = {key} if rng.random() < 0.7 else set()
                dropped = {tag for tag in tags if rng.random() < 0.3}
                local.drop(names, dropped)
                model = {k: v for k, v in model.items() if k not in names and dropped.isdisjoint(v[1])}
                marks = [(mark, gone | names | dropped, all_) for mark, gone, all_ in marks]
            case 1 if rng.random() < 0.02:
                local.flush()
                model = {}
                marks = [(mark, gone, True) for mark, gone, _ in marks]
            case 2 | 3:
                marks.append((local.mark(tags), set(), False))
            case 4 | 5 if marks:
                mark, gone, all_ = marks.pop(rng.randrange(len(marks)))
                ends = clock.now + rng.randrange(1, 60)
                local.put(key, key, mark, step, ends=ends, size=rng.randrange(100), tags=tags)
                ends = min(ends, mark.taken + 50)
                if not all_ and gone.isdisjoint({key, *tags}) and ends > clock.now:
                    model[key] = (step, tags, ends)
            case 6:
                clock.now += rng.random()
            case _:
                entry = local.get(key)
                if entry is not None:
                    hits += 1
                    assert entry.value == model[key][0]
                    assert clock.now < model[key][2]
        most = max(most, len(local))
        there = [entry for queue in local._queues for entry in queue if local._is_in(entry)]
        assert len(there) == len(set(map(id, there))) == len(local) == sum(local._counts) <= 20
        assert local.bytes == sum(entry.size for entry in there)
    assert hits > 100
    assert most > 15


def test_threads() -> None:
    """Puts, drops and looks from several threads break nothing, and the bounds hold."""
    local = Local(max_entries=50, ttl=10)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(2000):
                key = str(rng.randrange(100))
                if local.get(("f", key)) is None:
                    put(local, key, tags=("t",))
                if rng.random() < 0.01:
                    local.drop({key}, {"t"} if rng.random() < 0.1 else ())
        except BaseException as error:  # noqa: BLE001  told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(local) == sum(local._counts) <= 50


def test_what_an_entry_takes_beside_its_value() -> None:
    """Memory. Not more than is counted for it, and not so much less that room would be wasted."""
    count, value = 5_000, "the value"
    local = Local(max_entries=2 * count, ttl=3_600)
    mark, ends = local.mark(), time.monotonic() + 3_600
    tracemalloc.start()
    for number in range(count):
        local.put(("f", number), f"f:{number:020}", mark, value, ends=ends, size=9, tags=("product",))
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert len(local) == count
    assert OVERHEAD / 2 < size <= OVERHEAD
