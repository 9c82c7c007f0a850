"""What a run of the proof is reported as."""

import json
from html.parser import HTMLParser

from examples.bigevent.client import Traffic
from examples.bigevent.faults import Fault
from examples.bigevent.history import Failure
from examples.bigevent.page import page
from examples.bigevent.report import Run, recoveries, report, summary, table, timeline
from examples.bigevent.violations import CHECKERS, Violation


def a_run(**more: object) -> Run:
    """Ten seconds: a request each tenth, one killed process, three failures, one violation."""
    times = [(1000.0 + number / 10, float(number % 7 + 1)) for number in range(100)]
    failures = [Failure(1004.5, "502", 8001), Failure(1004.9, "502", 8001), Failure(1006.0, "closed")]
    values = {
        "began": 1000.0,
        "ended": 1010.0,
        "traffic": Traffic(times, failures),
        "faults": [Fault(4.0, "process killed"), Fault(8.0, "replica killed")],
        "violations": [Violation("carts", "ann", 1005.0, "<a> is missing")],
        "servers": [(1000.0, 3, 3, 2), (1005.0, 2, 3, 9)],
        "settings": {"users": 12},
    }
    return Run(**values | more)  # type: ignore[arg-type]


def test_the_figures() -> None:
    """Failed requests are requests, each cause and each checker has its count, and it is plain JSON."""
    found = json.loads(json.dumps(report(a_run())))
    assert found["requests"] == 103
    assert found["failed"] == {"502": 2, "closed": 1}
    assert found["violations"] == dict.fromkeys(CHECKERS, 0) | {"carts": 1}
    assert found["latency_ms"] == {"p50": 4.0, "p95": 7.0, "p99": 7.0, "max": 7.0}
    assert found["faults"] == [
        {"at": 4.0, "what": "process killed", "recovered_s": 2.0, "slowest_ms": 7.0},
        {"at": 8.0, "what": "replica killed", "recovered_s": 0.0, "slowest_ms": 7.0},
    ]
    assert found["without"] == []
    assert found["examples"] == [{"checker": "carts", "at": 5.0, "user": "ann", "text": "<a> is missing"}]


def test_a_run_without_an_answer() -> None:
    """Nothing to take a median of is no median of zero."""
    found = report(a_run(traffic=Traffic([], [Failure(1001.0, "connection refused")])))
    assert found["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert found["requests"] == 1
    assert "<svg" in page([found])


def test_recovery_ends_with_the_last_failure_before_the_next_fault() -> None:
    """A failure belongs to the fault before it; the end of a fault is no fault of its own."""
    faults = [Fault(10.0, "S3 stalled"), Fault(20.0, "S3 goes on"), Fault(30.0, "CDN stopped")]
    found = recoveries(
        faults,
        failed=[5.0, 12.0, 22.5, 30.25],
        answered=[(9.0, 99.0), (21.0, 7.0), (23.0, 5.0), (31.0, 3.0)],
    )
    assert [each["recovered_s"] for each in found] == [12.5, None, 0.25]
    assert [each["slowest_ms"] for each in found] == [7.0, None, 3.0]


def test_what_nobody_saw_recover() -> None:
    """After the last failure nothing was answered before the next fault: that is no recovery, not even where
    nothing failed because nothing was answered at all."""
    faults = [Fault(10.0, "Redis master killed"), Fault(20.0, "S3 stalled"), Fault(30.0, "CDN stopped")]
    found = recoveries(faults, failed=[19.0], answered=[(11.0, 5.0), (30.5, 5.0)])
    assert [each["recovered_s"] for each in found] == [None, None, 0.0]
    assert "not before the next" in page([report(a_run(faults=faults))])


def test_the_timeline() -> None:
    """A row a second; the fleet stays as it was seen last; what came after the end is left out."""
    late = Traffic([*a_run().traffic.times, (1010.5, 99.0)], a_run().traffic.failures)
    rows = timeline(a_run(traffic=late))
    assert [row["at"] for row in rows] == [float(second) for second in range(11)]
    assert [row["requests"] for row in rows] == [10, 10, 10, 10, 12, 10, 11, 10, 10, 10, 0]
    assert [row["failed"] for row in rows] == [0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0]
    assert [(row["serving"], row["in_flight"]) for row in rows] == [(3, 2)] * 5 + [(2, 9)] * 6
    assert rows[10]["p50"] is None


def test_the_table_of_several_runs() -> None:
    """A column a run, a row a figure."""
    lines = table([report(a_run()), report(a_run(without=("sessions",), violations=[]))]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0] == "|  | everything on | without sessions |"
    assert lines[2:4] == ["| requests | 103 | 103 |", "| failed | 3 | 3 |"]
    assert "| carts | 1 | 0 |" in lines


def test_the_summary() -> None:
    """What a terminal shows."""
    assert "103 requests; failed: 502 2, closed 1" in summary(report(a_run()))
    assert "violations: carts 1" in summary(report(a_run()))
    assert "violations: none" in summary(report(a_run(violations=[])))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_needs_nothing_else_and_marks_every_fault() -> None:
    """One file: no script, nothing loaded; four plots, each with each fault; what visitors said is text."""
    text = page([report(a_run())])
    tags = _Tags()
    tags.feed(text)
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe"}
    assert "http" not in text
    assert len([tag for tag, _ in tags.seen if tag == "svg"]) == 4
    assert len([1 for tag, attrs in tags.seen if tag == "line" and "fault" in (attrs["class"] or "")]) == 8
    assert "<a> is missing" not in text
    assert "&lt;a&gt; is missing" in text


def test_a_page_of_several_runs_compares_them() -> None:
    """With a row each, and all of their plots below."""
    text = page([report(a_run()), report(a_run(without=("cdn",)))])
    assert text.index("What each piece is for") < text.index("Everything on") < text.index("Without cdn")
