"""A plot over time as SVG, with the faults marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from examples.bigevent.faults import ENDS
from examples.bigevent.tags import tag

Rows: TypeAlias = Sequence[Mapping[str, Any]]

WIDTH, HEIGHT = 1000, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 12, 24


@dataclass(frozen=True)
class Scale:
    """From seconds and values to places in the drawing.

    Args:
        last: seconds at the right end.
        top: value at the upper end.
    """

    last: float
    top: float

    def x(self, at: float) -> float:
        return round(_LEFT + at / self.last * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_TOP + (1 - value / self.top) * (HEIGHT - _TOP - _BOTTOM), 1)


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
    scale = Scale(max(rows[-1]["at"], 1.0), _round_up(max(row[name] or 0 for row in rows for name in names)))
    drawn = [*_grid(scale), *_marks(faults, scale)]
    if bars:
        drawn += _bars(rows, bars, scale)
    drawn += [tag("path", "", cls=kind, d=_path(rows, name, scale, steps)) for name, kind in lines.items()]
    return tag("svg", "".join(drawn), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")


def _grid(scale: Scale) -> list[str]:
    drawn = []
    for value in (0.0, scale.top / 2, scale.top):
        y = scale.y(value)
        drawn.append(tag("line", "", cls="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y))
        drawn.append(tag("text", f"{value:g}", x=_LEFT - 6, y=y + 4, text_anchor="end"))
    for part in range(6):
        at = round(scale.last * part / 5)
        drawn.append(tag("text", f"{at} s", x=scale.x(at), y=HEIGHT - 6, text_anchor="middle"))
    return drawn


def _marks(faults: Rows, scale: Scale) -> list[str]:
    drawn = []
    for number, fault in enumerate(faults, 1):
        x = scale.x(min(fault["at"], scale.last))
        kind = "fault end" if fault["what"] in ENDS else "fault"
        title = tag("title", fault["what"])
        drawn.append(tag("line", title, cls=kind, x1=x, x2=x, y1=_TOP, y2=HEIGHT - _BOTTOM, raw=True))
        drawn.append(tag("text", str(number), cls="number", x=x + 2, y=_TOP + 8))
    return drawn


def _bars(rows: Rows, name: str, scale: Scale) -> list[str]:
    width = max(1.0, scale.x(1) - scale.x(0) - 1)
    return [
        tag(
            "rect",
            tag("title", f"{row['at']:g} s: {row[name]}"),
            raw=True,
            cls="bar",
            x=scale.x(row["at"]),
            y=scale.y(row[name]),
            width=width,
            height=round(scale.y(0) - scale.y(row[name]), 1),
        )
        for row in rows
        if row[name]
    ]


def _path(rows: Rows, name: str, scale: Scale, steps: bool) -> str:
    """A line that breaks off where there is nothing."""
    path, pen = [], "M"
    for row in rows:
        if row[name] is None:
            pen = "M"
            continue
        x = scale.x(row["at"])
        level = f"H{x}" if steps and pen == "L" else ""
        path.append(f"{level}{pen}{x} {scale.y(row[name])}")
        pen = "L"
    return "".join(path)


def _round_up(value: float) -> float:
    """A round number that is not below it."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(size * step for step in (1, 2, 4, 5, 8, 10) if size * step >= value)
