"""A process that forks while its threads use the cache: its children can use it, too."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import os, signal, sys, threading
    from scalekit.cache import Cache
    from scalekit.cache.memory import MemoryBackend

    cache = Cache(MemoryBackend())
    parent, computing, ready, done = os.getpid(), threading.Event(), threading.Event(), threading.Event()

    @cache.query(ttl=60, tags=["t"])
    def query(number: int) -> int:
        if number == 1 and os.getpid() == parent:
            computing.set()
            done.wait()
        return number

    def hold():
        core = cache._core
        with (
            cache._backend.own._lock, cache._counter._lock, core.local._lock,
            core.runtimes["sync"].flights._lock, core.runtimes["async"].flights._lock,
            core.runtimes["sync"]._keeper._changed, core.invalidation.debts._lock,
        ):
            ready.set()
            done.wait()

    query(2)
    threading.Thread(target=query, args=(1,), daemon=True).start()
    computing.wait()
    threading.Thread(target=hold, daemon=True).start()
    ready.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends a child that hangs
        right = [query(1), query(1), query(2)] == [1, 1, 2]
        cache.invalidate_tags_sync("t")
        os._exit(0 if right and query(1) == 1 else 1)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    """Neither for one that computes, nor for one that holds a lock at that moment."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], check=True, timeout=60)


DISABLED = """
    import os, signal, sys
    from scalekit.cache import Cache
    from scalekit.cache.memory import MemoryBackend

    class Elsewhere(MemoryBackend):
        local = False

    cache, runs = Cache(Elsewhere(), local_entries=10, local_ttl=60), []

    @cache.query(ttl=60)
    def query() -> int:
        runs.append(os.getpid())
        return len(runs)

    query()
    with cache.disabled():
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a child that hangs
        off = query()
    on = query(), query()
    right = (off, on) == (2, (1, 1)) and cache.stats().local_hits > 0
    if child == 0:
        os._exit(0 if right else 1)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or not right)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_cache_that_is_off_is_off_in_a_child() -> None:
    """28. In ``disabled()`` a child does without the cache, and has its own memory again after the block."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(DISABLED)], check=True, timeout=60)


HEARING = """
    import os, signal, sys, time
    from scalekit.cache import Cache
    from scalekit.cache.redis import RedisBackend

    url, prefix = sys.argv[1:]
    source, ends = 1, time.monotonic() + 30

    def make(**options):
        return Cache(RedisBackend.from_url(url, prefix=prefix, timeout=5), **options)

    here, there = make(local_entries=9, local_ttl=60), make()

    @here.query(ttl=600, tags=["t"])
    def query() -> int:
        return source

    def wait_until(condition):
        while not condition():
            assert time.monotonic() < ends
            time.sleep(0.002)

    def is_local():
        before = here.stats().local_hits
        query()
        return here.stats().local_hits > before

    wait_until(is_local)
    begin, ready = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(40)  # ends a child that hangs
        assert not is_local()  # nobody listens here yet
    wait_until(is_local)
    source = 2
    if child == 0:
        os.write(ready, b"!")  # both have it in their memories now
        wait_until(lambda: query() == 2)
        os._exit(0)
    os.read(begin, 1)
    there.invalidate_tags_sync("t")
    wait_until(lambda: query() == 2)
    here.close_sync()
    there.close_sync()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_hears_for_itself(redis_url: str, prefix: str) -> None:
    """16. A child has no listener: its memory is empty until it has one of its own. Both hear what is
    dropped."""
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HEARING), redis_url, prefix], check=True, timeout=90
    )
