"""The records of tags in Memcached: read, and replaced on the condition that nobody else has meanwhile.

Those of one process who change one record at the same time help each other: one writes the changes of all,
and the others find theirs done. Many commits to one table are few writes, and only processes compete. A write
shows that nobody has changed the record since it was read; without one, only who has read it is done.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias
from weakref import WeakValueDictionary

from scalekit._forks import renew_in_children
from scalekit._memcached import Attempt, Commands, Get, Item, Outcome, Set, settle
from scalekit._steps import Steps

_WAITS = 8  # pauses for another one's write, 50 ms in all; then everybody writes

Edit: TypeAlias = Callable[[bytes | None, int], bytes | None]
"""The record that is to be there, of the one that is and the moment (milliseconds since 1970).

To do it twice must do no harm: who helps may not know yet that it is done.
"""


class _Change:
    """What somebody wants of a record, and whether it is done."""

    def __init__(self, edit: Edit) -> None:
        self.edit, self.done = edit, False


class Open:
    """The changes of one record that are under way in this process, in order; it lasts as long as they do."""

    def __init__(self) -> None:
        self.changes: dict[_Change, None] = {}
        self.busy = False
        """Somebody is making them, with those that come before it has read. A hint: two do no harm."""


class UnderWay:
    """Those of all records: one for a back end, whatever the colour."""

    def __init__(self) -> None:
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        # What the parent was at, its child is not: nobody would ever find it done.
        self._open = WeakValueDictionary[str, Open]()

    def on(self, place: str) -> Open:
        # That a change gets into no batch, or into one of its own, costs a write and nothing else.
        return self._open.setdefault(place, Open())


class Records:
    """See the module.

    Args:
        name: the link's, for messages.
        under_way: what this process is at.
        now: milliseconds since 1970.
        seconds: how long Memcached is to keep a record.
    """

    def __init__(
        self,
        commands: Commands,
        *,
        name: str,
        under_way: UnderWay,
        now: Callable[[], int],
        seconds: Callable[[bytes, int], int],
    ) -> None:
        self._commands, self._name, self._under_way = commands, name, under_way
        self._now, self._seconds = now, seconds

    def change(self, places: Iterable[str], edit: Edit) -> Steps[None]:
        """Edit each of these records.

        Raises:
            BackendError: the server failed, or other processes got in the way each time.
        """
        mine = {place: (_Change(edit), self._under_way.on(place)) for place in sorted(set(places))}
        for change, batch in mine.values():
            batch.changes[change] = None
        tried = 0

        def attempt() -> Steps[Outcome[None]]:
            nonlocal tried
            tried += 1
            return (yield from self._attempt(mine, wait=tried < _WAITS))

        try:
            yield from settle(self._commands, self._name, attempt)
        finally:
            for change, batch in mine.values():
                del batch.changes[change]

    def _attempt(self, mine: dict[str, tuple[_Change, Open]], *, wait: bool) -> Steps[Outcome[None]]:
        """Make what is not made. With ``wait``, not what somebody else is about to make."""
        left = [place for place, (change, _) in mine.items() if not change.done]
        wanted = [place for place in left if not (wait and mine[place][1].busy)]
        if not wanted:
            return Attempt.FAILED if left else None
        batches = [mine[place][1] for place in wanted]
        for batch in batches:
            batch.busy = True
        try:
            yield from self._make([(place, *mine[place]) for place in wanted])
        finally:
            for batch in batches:
                batch.busy = False
        return None if all(change.done for change, _ in mine.values()) else Attempt.FAILED

    def _make(self, wanted: list[tuple[str, _Change, Open]]) -> Steps[None]:
        items: list[Item | None] = yield self._commands.together([Get(place) for place, _, _ in wanted])
        now, commands = self._now(), []
        for (place, change, batch), item in zip(wanted, items, strict=True):
            # Now, and not before the read: whoever has come meanwhile is helped, too.
            changes = [change, *(other for other in list(batch.changes) if other is not change)]
            found = record = None if item is None else item.value
            for one in changes:
                record = one.edit(record, now)
            if record is None or record == found:
                # No write proves that this still is the record. Those who came after the read look again.
                change.done = True
                continue
            version = 0 if item is None else item.version
            commands.append((Set(place, record, self._seconds(record, now), version), changes))
        if commands:
            numbers = yield self._commands.together([command for command, _ in commands])
            for (_, changes), number in zip(commands, numbers, strict=True):
                if number:
                    _tell(changes)


def _tell(changes: list[_Change]) -> None:
    for change in changes:
        change.done = True
