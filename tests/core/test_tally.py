"""Counting, as the pieces do it for their metrics."""

import math
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

import pytest

from scalekit._tally import Histogram, Tally
from scalekit.metrics import Distribution, Measured, Metric, Sample, counters, gauges


def in_threads(do: Callable[[], None], *, threads: int = 8) -> None:
    """Calls ``do`` in several threads at once."""
    barrier = threading.Barrier(threads)

    def run() -> None:
        barrier.wait()
        do()

    every = [threading.Thread(target=run) for _ in range(threads)]
    for thread in every:
        thread.start()
    for thread in every:
        thread.join()


def distribution(histogram: Histogram) -> Distribution:
    value = histogram.metric().samples[0].value
    assert isinstance(value, Distribution)
    return value


FORKING = """
    import os, signal, sys
    from scalekit._tally import Histogram, Tally

    tally, histogram = Tally("a", "A.", labels=["x"]), Histogram("h", "H.")
    tally.add("1")
    tally.add_many(1, "1")
    histogram.observe(1)
    with tally._lock, histogram._lock:  # as if another thread were at it
        child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends a child that hangs
        before = tally.value("1"), tally.metric().samples, histogram.metric().samples[0].value.sum
        tally.add("2")
        tally.add_many(1, "2")
        histogram.observe(2)
        after = tally.value("2"), histogram.metric().samples[0].value.sum
        os._exit(0 if (before, after) == ((0, (), 0), (2, 2)) else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status or (0 if tally.value("1") == 2 else 2))
"""


def test_what_has_no_label_is_there_from_the_beginning() -> None:
    """So are the values that were said to be known: a rise from nothing is seen as a rise."""
    assert Tally("a", "A.").metric() == Metric("a", "counter", "A.", (Sample(0),))
    known = Tally("a", "A.", labels=["op"], known=["load"])
    known.add("save")
    assert known.metric().samples == (Sample(0, {"op": "load"}), Sample(1, {"op": "save"}))


def test_labels_are_counted_apart_and_amounts_together_with_ones() -> None:
    """`add` and `add_many` of the same labels are one number."""
    tally = Tally("a", "A.", labels=["method", "status"])
    tally.add("GET", "2xx")
    tally.add_many(4, "GET", "2xx")
    tally.add_many(2.5, "PUT", "5xx")
    assert tally.value("GET", "2xx") == 5
    assert tally.value("GET", "3xx") == 0
    assert tally.metric().samples == (
        Sample(5, {"method": "GET", "status": "2xx"}),
        Sample(2.5, {"method": "PUT", "status": "5xx"}),
    )


def test_looking_counts_nothing() -> None:
    """A number that is read a hundred times is what it was."""
    tally = Tally("a", "A.")
    for _ in range(100):
        tally.metric()
    tally.add()
    assert [tally.value(), tally.value()] == [1, 1]


def test_no_thread_loses_a_count() -> None:
    """Eight threads that count at once count all, the first use of a label included."""
    tally = Tally("a", "A.", labels=["n"])
    histogram = Histogram("h", "H.", bounds=[1, 10])

    def count() -> None:
        for number in range(5000):
            tally.add(str(number))
            tally.add_many(2, "many")
            histogram.observe(number % 2)
            if number % 1000 == 0:
                histogram.metric()

    in_threads(count)
    assert {tally.value(str(number)) for number in range(5000)} == {8}
    assert tally.value("many") == 8 * 5000 * 2
    assert distribution(histogram) == Distribution(((1, 40_000), (10, 40_000), (math.inf, 40_000)), 20_000)


def test_a_histogram_has_each_size_in_its_bucket() -> None:
    """Buckets hold what is at most their bound, and all of the smaller ones; the last has everything."""
    histogram = Histogram("h", "H.", bounds=[0.1, 1])
    for size in (0.1, 0.05, 0.5, 7):
        histogram.observe(size)
    value = distribution(histogram)
    assert value.buckets == ((0.1, 2), (1, 3), (math.inf, 4))
    assert math.isclose(value.sum, 7.65)


def test_many_sizes_do_not_pile_up() -> None:
    """Nobody has to look for memory to stay bounded."""
    histogram = Histogram("h", "H.")
    for _ in range(10_000):
        histogram.observe(1)
    assert len(histogram._new) < 2000
    assert distribution(histogram).sum == 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_counts_for_itself() -> None:
    """It begins at nothing, and can count though a thread of its parent held the lock."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(FORKING)], check=True, timeout=60)


def test_numbers_by_label() -> None:
    """What has its numbers already gives them by one label."""
    assert counters("a", "A.", {"x": 1, "y": 2}, label="l") == Metric(
        "a", "counter", "A.", (Sample(1, {"l": "x"}), Sample(2, {"l": "y"}))
    )
    assert gauges("a", "A.", {}, label="l") == Metric("a", "gauge", "A.", ())


def test_what_reports_is_known_by_its_method() -> None:
    """There is nothing to inherit from."""

    class Queue:
        def metrics(self) -> list[Metric]:
            return []

    assert isinstance(Queue(), Measured)
    assert not isinstance(object(), Measured)
