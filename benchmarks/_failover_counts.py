"""What became of the writes of ``./dev bench failover``: a write is one key that is put into a session."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

Outcome = Literal["acknowledged", "refused", "unknown"]


class Write(NamedTuple):
    """What a visitor was told. ``cookie`` is the one they had afterwards, ``None`` without any."""

    cookie: str | None
    key: str
    outcome: Outcome


@dataclass(frozen=True)
class Counts:
    """Attempts by what came of them.

    Args:
        acknowledged: answered 200.
        lost: of those, not in the session at the end.
        refused: answered 503, and not in the session at the end.
        unknown: answered 503 because no answer came in time or too few replicas had it, wherever it is at the
            end; or because the connection broke, and in the session at the end.
    """

    acknowledged: int = 0
    lost: int = 0
    refused: int = 0
    unknown: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(ours + theirs for ours, theirs in zip(astuple(self), astuple(other), strict=True)))


def tally(writes: Iterable[Write], found: Mapping[str, Collection[str]]) -> Counts:
    """What became of ``writes``; ``found`` has the keys of the sessions at the end, by their cookies."""
    acknowledged = lost = refused = unknown = 0
    for write in writes:
        there = write.cookie is not None and write.key in found.get(write.cookie, ())
        if write.outcome == "acknowledged":
            acknowledged += 1
            lost += not there
        elif there or write.outcome == "unknown":
            unknown += 1
        else:
            refused += 1
    return Counts(acknowledged, lost, refused, unknown)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that is not below this share of them; ``nan`` of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
