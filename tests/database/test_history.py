"""The age of a replica's data, from the primary's positions. No server needed."""

from collections.abc import Iterator, Mapping

from hypothesis import given
from hypothesis import strategies as st

from scalekit.database import Token
from scalekit.database.history import History
from scalekit.database.report import Report
from scalekit.database.tokens import Reached

SYSTEM = "mariadb"
MARKS = st.dictionaries(st.sampled_from(["0:1", "0:2", "1:1"]), st.integers(0, 12), max_size=3)


def primary(asked: float, written: Mapping[str, int], flushed: Mapping[str, int] | None = None) -> Report:
    return Report(
        asked=asked,
        writable=True,
        reached=Reached(SYSTEM, written),
        epoch=0,
        order=0,
        written=Token.of(SYSTEM, 0, written),
        flushed=Token.of(SYSTEM, 0, written if flushed is None else flushed),
        flush_delay=0.6,
        server="a",
        shown="",
    )


class _Counted(Mapping[str, int]):
    """A position that counts how often it is compared."""

    def __init__(self, number: int) -> None:
        self.number, self.looks = number, 0

    def __getitem__(self, origin: str) -> int:
        self.looks += 1
        return self.number

    def __iter__(self) -> Iterator[str]:
        return iter(["0:1"])

    def __len__(self) -> int:
        return 1


def test_a_replica_that_is_far_behind_costs_little() -> None:
    """3. It is asked for with each answer of any member, under a lock that commits take, too."""
    history = History()
    for moment in range(3_000):
        history.add(primary(float(moment), {"0:1": 10 * moment}))
    for number, until in ((29_990, 2_999), (29_989, 2_998), (21_000, 2_100), (20_000, 2_000), (19_999, None)):
        position = _Counted(number)
        assert history.complete_until(Reached(SYSTEM, position)) == until
        assert position.looks < 40


@given(st.lists(st.tuples(MARKS, MARKS), min_size=1, max_size=16), MARKS)
def test_the_newest_that_the_replica_has(
    steps: list[tuple[dict[str, int], dict[str, int]]], has: dict[str, int]
) -> None:
    """3. However the positions came about: after a crash they may go back, after a failover be another's."""
    history, known, written, flushed = History(), [], {}, {}  # type: ignore[var-annotated]
    for moment, (change, late) in enumerate(steps):
        if sum(change.values()) % 5:  # it goes on, as it does nearly always
            change = {origin: max(number, written.get(origin, 0)) for origin, number in change.items()}
            written = {**written, **change}
        else:
            written = change
        flushed = {origin: late.get(origin, number) for origin, number in written.items()}
        history.add(primary(float(moment), written, flushed))
        known.append((float(moment), Token.of(SYSTEM, 0, written), Token.of(SYSTEM, 0, flushed)))
    reached = Reached(SYSTEM, has)
    expected = None
    for moment, all_of_it, durable in known:  # type: ignore[assignment]
        if reached.covers(all_of_it):
            expected = moment
        elif reached.covers(durable):
            expected = moment - 0.6
    assert history.complete_until(reached) == expected
