"""What a push says of itself, while it is at work and in the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Action = Literal["created", "replaced", "unchanged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What becomes of one file: ``name`` is below the prefix, ``size`` in bytes."""

    name: str
    action: Action
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PushReport:
    """What a push has done, or would do.

    Args:
        created: files that were not there.
        replaced: files that were there with other content, or headers where those were asked for.
        unchanged: files that were left alone.
        bytes_written: bytes of the files that were sent.
        is_new: whether the release has become the current one, which it was not.
    """

    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    bytes_written: int = 0
    is_new: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PushProgress:
    """How far a push is: ``done`` of ``total`` bytes are sent; ``total`` is ``None`` until that is known."""

    done: int
    total: int | None
    report: PushReport


class Tally:
    """Counts, and tells those who want to know. ``total`` is the bytes that there are to send, once known."""

    def __init__(
        self,
        on_change: Callable[[Change], object] | None,
        on_progress: Callable[[PushProgress], object] | None,
    ) -> None:
        self._on_change, self._on_progress = on_change, on_progress
        self.report = PushReport()
        self.total: int | None = None

    def add(self, name: str, size: int, action: Action) -> None:
        counted: dict[str, Any] = {action: getattr(self.report, action) + 1}
        if action != "unchanged":
            counted["bytes_written"] = self.report.bytes_written + size
        self.report = replace(self.report, **counted)
        if self._on_change is not None:
            self._on_change(Change(name=name, action=action, size=size))
        if self._on_progress is not None:
            self._on_progress(
                PushProgress(done=self.report.bytes_written, total=self.total, report=self.report)
            )
