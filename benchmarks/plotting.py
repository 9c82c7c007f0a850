"""Lines in a frame, as SVG: for the plots of ``./dev bench scale`` and for those of ``examples/bigevent``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from examples.bigevent.tags import tag

_SIZES = (("G", 10**9), ("M", 10**6), ("k", 10**3))


@dataclass(frozen=True)
class Axis:
    """From values to places in a drawing.

    Args:
        first: the value at ``start``; above 0 if ``log``.
        last: the value at ``end``, another one.
        start: the place of ``first``, in pixels.
        end: the place of ``last``.
        log: whether each power of ten takes as much room.
    """

    first: float
    last: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        first, last, at = (
            (math.log10(number) for number in (self.first, self.last, value))
            if self.log
            else (self.first, self.last, value)
        )
        return round(self.start + (at - first) / (last - first) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Values to be named: the powers of ten, or about four round numbers."""
        if self.log:
            powers = range(math.ceil(math.log10(self.first)), math.floor(math.log10(self.last)) + 1)
            return [10.0**power for power in powers]
        step = round_up((self.last - self.first) / 4)
        first, last = math.ceil(self.first / step), math.floor(self.last / step)
        return [step * times for times in range(first, last + 1)]


def line(points: Iterable[tuple[float, float | None]], x: Axis, y: Axis, *, steps: bool = False) -> str:
    """The ``d`` of a path that breaks off where there is nothing; with ``steps`` it stays level until it
    changes."""
    path, pen = [], "M"
    for at, value in points:
        if value is None:
            pen = "M"
            continue
        level = f"H{x.place(at)}" if steps and pen == "L" else ""
        path.append(f"{level}{pen}{x.place(at)} {y.place(value)}")
        pen = "L"
    return "".join(path)


def round_up(value: float) -> float:
    """A round number that is not below it."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(size * step for step in (1, 2, 4, 5, 8, 10) if size * step >= value)


def short(value: float) -> str:
    """``1,500,000`` as ``1.5M``."""
    letter, size = next(((letter, size) for letter, size in _SIZES if value >= size), ("", 1))
    return f"{value / size:.3g}{letter}"


_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 52, 96
_COLOURS = ("#2563eb", "#b45309", "#15803d", "#be185d")


def chart(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    notes: Sequence[str] = (),
    log_x: bool = True,
    log_y: bool = False,
) -> str:
    """A drawing that stands alone.

    Args:
        title: what the values are, with their unit.
        lines: points by the name of their line, four lines at most.
        x: what grows.
        notes: below it: how it was measured.
        log_x: whether each power of ten takes as much room.
        log_y: the same for the values.
    """
    points = [point for line in lines.values() for point in line]
    widest, highest = max(at for at, _ in points), max(value for _, value in points)
    across = Axis(min(at for at, _ in points), widest, _LEFT, _WIDTH - _RIGHT, log_x)
    bottom = 10.0 ** math.floor(math.log10(min(value for _, value in points))) if log_y else 0.0
    top = 10.0 ** math.ceil(math.log10(highest)) if log_y else round_up(highest)
    up = Axis(bottom, top if top > bottom else bottom * 10, _HEIGHT - _BOTTOM, _TOP, log_y)
    drawn = [
        tag("rect", width=_WIDTH, height=_HEIGHT, fill="#fff"),
        tag("text", title, x=_LEFT, y=22, font_size=15),
        *_frame(across, up),
    ]
    key = _LEFT
    for colour, (name, found) in zip(_COLOURS, lines.items(), strict=False):
        drawn.append(tag("path", d=line(found, across, up), fill="none", stroke=colour, stroke_width=2))
        drawn += [
            tag("circle", cx=across.place(at), cy=up.place(value), r=3, fill=colour) for at, value in found
        ]
        drawn.append(tag("text", name, x=key, y=42, fill=colour))
        key += 8 * len(name) + 16
    drawn.append(tag("text", x, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 58, text_anchor="middle"))
    drawn += [
        tag("text", note, x=_LEFT, y=_HEIGHT - 34 + 16 * row, font_size=11, fill="#475569")
        for row, note in enumerate(notes)
    ]
    head = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}"}
    return tag("svg", "\n".join(["", *drawn, ""]), font_family="sans-serif", font_size=13, **head) + "\n"


def _frame(across: Axis, up: Axis) -> list[str]:
    drawn = []
    for value in up.ticks():
        y = up.place(value)
        drawn.append(tag("path", d=f"M{across.start} {y}H{across.end}", stroke="#cbd5e1"))
        drawn.append(tag("text", short(value), x=across.start - 6, y=y + 4, text_anchor="end"))
    for value in across.ticks():
        place = {"x": across.place(value), "y": up.start + 18}
        drawn.append(tag("text", short(value), text_anchor="middle", **place))
    return drawn
