"""A series of ``./dev bench scale``: what was measured as something grows, as a table and as a plot."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.plotting import chart


@dataclass(frozen=True, kw_only=True)
class Series:
    """Rows of numbers, the first of each being what grows.

    Args:
        name: of the plot's file, ``scale-<name>.svg``.
        title: of the plot: what its lines are, with their unit.
        columns: names, with units.
        rows: a number a column.
        drawn: the columns that are lines of the plot, by what they are called there.
        notes: how it was measured, in lines that fit below the plot.
        log_x: whether the plot gives each power of ten as much room.
        log_y: the same for the values.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    drawn: dict[str, str]
    notes: Sequence[str] = ()
    log_x: bool = True
    log_y: bool = False

    def table(self) -> str:
        """In Markdown."""
        return markdown(self.columns, self.rows)

    def svg(self) -> str:
        lines = {
            called: [(row[0], row[self.columns.index(column)]) for row in self.rows]
            for column, called in self.drawn.items()
        }
        return chart(
            self.title, lines, x=self.columns[0], notes=self.notes, log_x=self.log_x, log_y=self.log_y
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def column(self, name: str) -> list[float]:
        return [row[self.columns.index(name)] for row in self.rows]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[float | str]]) -> str:
    """A table whose numbers stand on the right."""
    sides = ["---" if rows and isinstance(cell, str) else "---:" for cell in rows[0]]
    lines = [columns, sides, *([shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(number: float | str) -> str:
    """With as many digits as tell something."""
    if isinstance(number, str):
        return number
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"
