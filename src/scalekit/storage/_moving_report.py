"""What a sync says of itself, while it runs and at its end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["created", "replaced", "unchanged", "deleted", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of one key; in a dry run, what would.

    Args:
        action: ``"created"``, ``"replaced"``, ``"unchanged"``, ``"deleted"``, ``"failed"``, or
            ``"skipped"``: it lies among the source's objects and is none, by name or kind.
        size: of the source's object, in bytes; of the one that goes, where it is deleted.
        reason: why it failed, or was skipped.
    """

    key: str
    action: Action
    size: int
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """What a sync has done, in objects and in bytes; in a dry run, what it would."""

    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: int = 0
    skipped: int = 0
    bytes_written: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncProgress:
    """How far a sync is.

    Args:
        done: bytes of the source that have been dealt with: compared, or written.
        total: bytes of the source, once they are counted.
        report: what has been done.
    """

    done: int
    total: int | None
    report: SyncReport


class Tally:
    """Adds up, and tells."""

    def __init__(
        self,
        on_progress: Callable[[SyncProgress], None] | None,
        on_change: Callable[[Change], None] | None,
    ) -> None:
        self.report = SyncReport()
        self.total: int | None = None
        self._done = 0
        self._on_progress, self._on_change = on_progress, on_change

    def changed(self, change: Change) -> None:
        """Count one key."""
        report = self.report
        written = change.size if change.action in ("created", "replaced") else 0
        count = getattr(report, change.action) + 1
        self.report = replace(report, **{change.action: count}, bytes_written=report.bytes_written + written)
        if self._on_change is not None:
            self._on_change(change)
        self._tell()

    def meter(self) -> Callable[[int], None]:
        """For one object: to be told, again and again, how many of its bytes are dealt with."""
        before = 0

        def moved(count: int) -> None:
            nonlocal before
            self._done += count - before
            before = count
            self._tell()

        return moved

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(SyncProgress(done=self._done, total=self.total, report=self.report))
