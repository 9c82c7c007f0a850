"""The figures of a run, as they are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.bigevent.client import Traffic
from examples.bigevent.faults import ENDS, Fault
from examples.bigevent.violations import CHECKERS, FAIL_OVER, Violation, counts

SHOWN = 20  # violations that a report quotes


@dataclass(kw_only=True)
class Run:
    """All that is known of a run; times are seconds of one clock.

    Args:
        began: when the visitors came.
        ended: when they had left.
        servers: time, processes that serve, processes there are, and requests in flight.
        without: the pieces that were switched off.
    """

    began: float
    ended: float
    traffic: Traffic
    faults: Sequence[Fault]
    violations: Sequence[Violation]
    servers: Sequence[tuple[float, int, int, int]] = ()
    without: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def report(run: Run) -> dict[str, Any]:
    """What `--json` writes."""
    times = sorted(milliseconds for _, milliseconds in run.traffic.times)
    failures = run.traffic.failures
    return {
        "seconds": round(run.ended - run.began, 1),
        "settings": dict(run.settings),
        "without": list(run.without),
        "requests": run.traffic.requests,
        "failed": dict(Counter(failure.cause for failure in failures).most_common()),
        "faults": recoveries(
            run.faults,
            failed=[failure.at - run.began for failure in failures],
            answered=[(ended - run.began, milliseconds) for ended, milliseconds in run.traffic.times],
        ),
        "violations": counts(run.violations),
        "latency_ms": {f"p{share}": percentile(times, share / 100) for share in (50, 95, 99)}
        | {"max": round(times[-1], 1) if times else None},
        "examples": [
            {
                "checker": each.checker,
                "at": round(each.at - run.began, 1),
                "user": each.user,
                "text": each.text,
            }
            for each in run.violations[:SHOWN]
        ],
        "timeline": timeline(run),
    }


def recoveries(
    faults: Sequence[Fault], *, failed: Iterable[float], answered: Iterable[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Each fault with the seconds from it to the last request that failed before the next fault, 0 where none
    did, and the slowest answer in that time. Where nothing was answered well after that one, it is ``None``:
    nobody saw it recover. What ends a fault has neither: it goes on counting.

    Args:
        failed: when requests failed, in seconds since the run began.
        answered: when the others were answered, and after how many milliseconds.
    """
    moments, answers = list(failed), list(answered)
    found: list[dict[str, Any]] = []
    for index, fault in enumerate(faults):
        row: dict[str, Any] = {"at": round(fault.at, 1), "what": fault.what}
        row |= {"recovered_s": None, "slowest_ms": None}
        if fault.what not in ENDS:
            following = [other.at for other in faults[index + 1 :] if other.what not in ENDS]
            until = following[0] if following else float("inf")
            last = max((at for at in moments if fault.at <= at < until), default=fault.at)
            slowest = max((took for at, took in answers if fault.at <= at < until), default=None)
            if any(last <= at < until for at, _ in answers):
                row["recovered_s"] = round(last - fault.at, 2)
            row["slowest_ms"] = None if slowest is None else round(slowest, 1)
        found.append(row)
    return found


def timeline(run: Run, *, width: float = 1.0) -> list[dict[str, Any]]:
    """A row for each second: requests, failures, latency, processes. What came after the visitors had left,
    when all was looked at once more, is not in it.

    Args:
        width: seconds of a row.
    """
    rows = max(1, int((run.ended - run.began) / width) + 1)
    times: list[list[float]] = [[] for _ in range(rows)]
    failed = [0] * rows
    servers: list[tuple[int, ...] | None] = [None] * rows

    def row_of(at: float) -> int | None:
        row = int((at - run.began) / width)
        return row if 0 <= row < rows and at <= run.ended else None

    for ended, milliseconds in run.traffic.times:
        if (row := row_of(ended)) is not None:
            times[row].append(milliseconds)
    for failure in run.traffic.failures:
        if (row := row_of(failure.at)) is not None:
            failed[row] += 1
    for at, *seen in run.servers:
        if (row := row_of(at)) is not None:
            servers[row] = tuple(seen)
    found = []
    known: tuple[int, ...] | None = None
    for row in range(rows):
        known = servers[row] or known
        ordered = sorted(times[row])
        serving, there, in_flight = known or (0, 0, 0)
        found.append(
            {
                "at": round(row * width, 1),
                "requests": len(ordered) + failed[row],
                "failed": failed[row],
                "p50": percentile(ordered, 0.5),
                "p95": percentile(ordered, 0.95),
                "serving": serving,
                "processes": there,
                "in_flight": in_flight,
            }
        )
    return found


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which a share of the values are; ``None`` of nothing."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def comparison(reports: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Several runs side by side: a head with a run a column, and rows of figures."""
    rows: list[list[Any]] = [
        ["requests", *(each["requests"] for each in reports)],
        ["failed", *(sum(each["failed"].values()) for each in reports)],
    ]
    rows += [[name, *(each["violations"][name] for each in reports)] for name in CHECKERS]
    return ["", *(name_of(each) for each in reports)], rows


def unexpected(reports: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The violations that scalekit has to answer for, by checker: those of runs with everything on, but not
    what Redis has lost at a fail-over, which nobody could keep."""
    found = Counter[str]()
    for each in reports:
        if not each["without"]:
            found.update(each["violations"])
    return {name: count for name, count in found.items() if count and name != FAIL_OVER}


def name_of(report: Mapping[str, Any]) -> str:
    """What was switched off."""
    return f"without {' and '.join(report['without'])}" if report["without"] else "everything on"


def table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Several runs side by side, as Markdown: what each piece is for."""
    head, rows = comparison(reports)
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join([row[0], *(f'{count:,}' for count in row[1:])])} |" for row in rows]
    return "\n".join(lines)


def summary(found: Mapping[str, Any]) -> str:
    """A report in a few lines, for a terminal."""
    failed = ", ".join(f"{cause} {count:,}" for cause, count in found["failed"].items()) or "none"
    violations = ", ".join(f"{name} {count:,}" for name, count in found["violations"].items() if count)
    latency = ", ".join(f"{name} {value} ms" for name, value in found["latency_ms"].items())
    return f"{found['requests']:,} requests; failed: {failed}\n{latency}\nviolations: {violations or 'none'}"
