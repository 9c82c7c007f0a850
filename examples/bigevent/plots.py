"""A plot over time as SVG, with the faults marked."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from benchmarks.plotting import Axis, line, round_up
from examples.bigevent.faults import ENDS
from examples.bigevent.tags import tag

Rows: TypeAlias = Sequence[Mapping[str, Any]]

WIDTH, HEIGHT = 1000, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 12, 24


def plot(rows: Rows, faults: Rows, lines: Mapping[str, str], *, bars: str = "", steps: bool = False) -> str:
    """Draw columns of a report's timeline.

    Args:
        rows: the timeline; a column may be ``None`` where there is nothing to draw.
        faults: those of the report.
        lines: column to the class of its line.
        bars: a column that is drawn as bars.
        steps: whether lines stay level until they change.
    """
    names = [*lines, *([bars] if bars else [])]
    x = Axis(0, max(rows[-1]["at"], 1.0), _LEFT, WIDTH - _RIGHT)
    y = Axis(0, round_up(max(row[name] or 0 for row in rows for name in names)), HEIGHT - _BOTTOM, _TOP)
    drawn = [*_grid(x, y), *_marks(faults, x)]
    if bars:
        drawn += _bars(rows, bars, x, y)
    for name, kind in lines.items():
        points = [(row["at"], row[name]) for row in rows]
        drawn.append(tag("path", "", cls=kind, d=line(points, x, y, steps=steps)))
    return tag("svg", "".join(drawn), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")


def _grid(x: Axis, y: Axis) -> list[str]:
    drawn = []
    for value in (0.0, y.last / 2, y.last):
        at = y.place(value)
        drawn.append(tag("line", "", cls="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at))
        drawn.append(tag("text", f"{value:g}", x=_LEFT - 6, y=at + 4, text_anchor="end"))
    for part in range(6):
        second = round(x.last * part / 5)
        drawn.append(tag("text", f"{second} s", x=x.place(second), y=HEIGHT - 6, text_anchor="middle"))
    return drawn


def _marks(faults: Rows, x: Axis) -> list[str]:
    drawn = []
    for number, fault in enumerate(faults, 1):
        at = x.place(min(fault["at"], x.last))
        kind = "fault end" if fault["what"] in ENDS else "fault"
        title = tag("title", fault["what"])
        drawn.append(tag("line", title, cls=kind, x1=at, x2=at, y1=_TOP, y2=HEIGHT - _BOTTOM, raw=True))
        drawn.append(tag("text", str(number), cls="number", x=at + 2, y=_TOP + 8))
    return drawn


def _bars(rows: Rows, name: str, x: Axis, y: Axis) -> list[str]:
    width = max(1.0, x.place(1) - x.place(0) - 1)
    return [
        tag(
            "rect",
            tag("title", f"{row['at']:g} s: {row[name]}"),
            raw=True,
            cls="bar",
            x=x.place(row["at"]),
            y=y.place(row[name]),
            width=width,
            height=round(y.place(0) - y.place(row[name]), 1),
        )
        for row in rows
        if row[name]
    ]
