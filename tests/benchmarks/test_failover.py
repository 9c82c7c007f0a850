"""``./dev bench failover`` counts what a fail-over loses, and the page has the figures of one run."""

import json
from pathlib import Path

import pytest

from benchmarks import bench_failover
from benchmarks._failover_counts import Counts, Write, percentile, tally
from benchmarks._failover_faults import KINDS
from benchmarks.bench_failover import SETTINGS
from benchmarks.bench_scale import filled

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / bench_failover.PAGE).read_text("utf-8")
RUN = json.loads((ROOT / bench_failover.RUN).read_text("utf-8"))


def test_the_tables_are_those_of_the_run() -> None:
    """The page shows the figures of a whole run: every way to fail, under every setting."""
    assert filled(PAGE, bench_failover.tables(RUN)) == PAGE
    rows = [(each["kind"], each["setting"], len(each["rounds"])) for each in RUN["counts"]]
    assert rows == [(kind, setting, RUN["rounds"]) for kind in KINDS for setting in SETTINGS]
    for name in ("where", "losses", "costs"):
        assert f"<!-- failover: {name} -->\n<!-- end -->" not in PAGE


def test_what_is_lost() -> None:
    """What was acknowledged and is not in that very session; also where the whole session is gone."""
    writes = [
        Write("ann", "1", "acknowledged"),
        Write("ann", "2", "acknowledged"),
        Write("bob", "1", "acknowledged"),
        Write("eve", "2", "acknowledged"),
    ]
    assert tally(writes, {"ann": ["1"], "bob": ["1", "2"]}) == Counts(acknowledged=4, lost=2)
    assert tally(writes, {}) == Counts(acknowledged=4, lost=4)


def test_what_was_refused() -> None:
    """A refusal that is not there is one; one that is there was sent, so that its outcome was unknown."""
    writes = [
        Write("ann", "1", "refused"),
        Write("ann", "2", "refused"),
        Write(None, "1", "refused"),
        Write("ann", "3", "unknown"),
        Write("ann", "4", "unknown"),
        Write(None, "1", "unknown"),
    ]
    assert tally(writes, {"ann": ["2", "3"]}) == Counts(refused=2, unknown=4)


def test_counts_are_added() -> None:
    """Of several processes, and of several rounds."""
    assert Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40) == Counts(11, 22, 33, 44)


def test_percentiles() -> None:
    """Of a hundred the 99th is not below 99 others; one is all there is; none is no number."""
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (51.0, 100.0)
    assert percentile([7.0], 0.99) == 7.0
    assert str(percentile([], 0.5)) == "nan"


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["plain", "wait"])
def test_a_master_that_is_cut_off(setting: str) -> None:
    """It confirms for those on its side what nobody has afterwards, and the bench finds it. With
    `wait_replicas=1` it confirms nothing alone, and nothing is lost."""
    found = bench_failover.run(KINDS["cut"], SETTINGS[setting], seconds=0.2, sides=("near", "far"))
    assert found.counts.acknowledged
    assert found.counts.refused, "of the other side, while there is no master for it"
    if setting == "plain":
        assert found.counts.lost
    else:
        assert (found.counts.lost, found.counts.unknown > 0) == (0, True)
    assert found.times
