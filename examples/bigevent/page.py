"""The report as a page: one HTML file that needs nothing else, its plots drawn in SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.bigevent.faults import ENDS
from examples.bigevent.plots import plot
from examples.bigevent.report import comparison, name_of
from examples.bigevent.tags import table, tag

Report = Mapping[str, Any]

_STYLE = Path(__file__).with_name("page.css")

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>bigevent</title><style>{style}</style>
{body}</html>
"""


def page(reports: Sequence[Report]) -> str:
    """One run; or several, which a table compares before each is drawn."""
    runs = "".join(_run(report) for report in reports)
    return _PAGE.format(
        style=_STYLE.read_text(), body=(_comparison(reports) if len(reports) > 1 else "") + runs
    )


def _run(report: Report) -> str:
    return "\n".join(
        [
            tag("h1", name_of(report).capitalize()),
            tag(
                "p",
                f"{report['seconds']:g} seconds; {report['settings'].get('users')} visitors at a time, "
                "ten times as many in the burst",
                cls="soft",
            ),
            _figures(report),
            tag("ol", "".join(tag("li", fault["what"]) for fault in report["faults"]), raw=True, cls="marks"),
            *_plots(report),
            tag("h2", "What was broken, and what that cost"),
            _faults(report),
            tag("h2", "What must not happen"),
            _violations(report),
            tag("h2", "Failed requests by cause"),
            table([[cause, count] for cause, count in report["failed"].items()] or [["none"]]),
        ]
    )


def _figures(report: Report) -> str:
    wrong, latency = sum(report["violations"].values()), report["latency_ms"]
    shown = [
        (f"{report['requests']:,}", "requests", ""),
        (f"{sum(report['failed'].values()):,}", "failed", ""),
        (f"{wrong:,}", "violations", "bad" if wrong else "good"),
        (f"{latency['p50']} ms", "median", ""),
        (f"{latency['p99']} ms", "99 %", ""),
    ]
    boxes = [tag("div", tag("b", value, cls=kind) + name, raw=True) for value, name, kind in shown]
    return tag("div", "".join(boxes), raw=True, cls="figures")


def _plots(report: Report) -> list[str]:
    rows, faults = report["timeline"], report["faults"]

    def figure(drawn: str, *keys: tuple[str, str], more: str = "") -> str:
        caption = ", ".join(tag("b", text, cls=kind) for kind, text in keys)
        return tag("figure", drawn + tag("figcaption", caption + more, raw=True), raw=True)

    return [
        tag("h2", "Requests a second"),
        figure(
            plot(rows, faults, {"requests": "one"}, bars="failed"), ("k1", "all of them"), ("k3", "failed")
        ),
        tag("h2", "Milliseconds to an answer"),
        figure(plot(rows, faults, {"p50": "one", "p95": "two"}), ("k1", "median"), ("k2", "95 %")),
        tag("h2", "Processes"),
        figure(
            plot(rows, faults, {"serving": "one", "processes": "two"}, steps=True),
            ("k1", "that serve"),
            ("k2", "with those that start"),
        ),
        tag("h2", "Requests in flight"),
        figure(
            plot(rows, faults, {"in_flight": "one"}),
            ("k1", "in all processes"),
            more=": the autoscaler's metric",
        ),
    ]


def _faults(report: Report) -> str:
    head = ["fault", "#", "at, s", "until the last failed request, s", "slowest answer, ms"]
    return table(
        [
            [fault["what"], number, fault["at"], _recovered(fault), fault["slowest_ms"]]
            for number, fault in enumerate(report["faults"], 1)
        ],
        head=head,
    )


def _recovered(fault: Report) -> float | str:
    if fault["recovered_s"] is None and fault["what"] not in ENDS:
        return "not before the next"
    return fault["recovered_s"]


def _violations(report: Report) -> str:
    counted = table([[name, count] for name, count in report["violations"].items()])
    quoted = "".join(
        tag("li", f"{each['at']} s, {each['user'] or 'somebody'}: {each['checker']}: {each['text']}")
        for each in report["examples"]
    )
    if not quoted:
        return counted
    summary = tag("summary", "the first of them")
    return counted + tag("details", summary + tag("ul", quoted, raw=True), raw=True)


def _comparison(reports: Sequence[Report]) -> str:
    head, rows = comparison(reports)
    return tag("h1", "What each piece is for") + table(rows, head=head)
