"""Uploads that share a memory budget, step by step: what each can do next, and what must hold after each.

As :mod:`scalekit.storage._s3_upload` uses the budget: a chunk is counted, the upload may have to wait, what
is more than a part makes it send one, and for that it may have to wait for a part that is being sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from scalekit.storage import budget as module
from scalekit.storage.budget import Account, MemoryBudget

Step = tuple[str, int]
"""What happens, and to which upload."""


class Waiter:
    """Takes the place of one that belongs to an event loop."""

    def __init__(self, account: Account, size: int, *, quick: bool) -> None:
        self.account, self.size, self.quick = account, size, quick
        self.woken = False

    def wake(self) -> None:
        self.woken = True


@dataclass(kw_only=True)
class Upload:
    """One whose client has ``left`` chunks to send yet."""

    account: Account
    chunk: int
    left: int
    part: int
    waiter: Waiter | None = None
    wants_to_send: list[int] = field(default_factory=list)
    being_sent: int = 0
    over: bool = False

    @property
    def waits(self) -> bool:
        return self.waiter is not None and not self.waiter.woken

    @property
    def asks(self) -> bool:
        """Its client is asked for more."""
        return not (self.over or self.waits or self.wants_to_send)


class Model:
    """Uploads, one budget, S3 and a clock.

    Args:
        limit: bytes; may be less than what a budget is given elsewhere.
    """

    def __init__(self, limit: int) -> None:
        self.now = 0.0
        self.budget = MemoryBudget(1024 * 1024)
        self.budget.limit = limit
        self.budget._now = lambda: self.now
        self.uploads: list[Upload] = []

    def begin(self, *, chunks: int, chunk: int, part: int) -> Upload:
        account = Account(self.budget, most=part)
        upload = Upload(account=account, chunk=chunk, left=chunks, part=part)
        self.uploads.append(upload)
        return upload

    def steps(self) -> Iterator[Step]:
        """What can happen next; time can always pass."""
        for number, upload in enumerate(self.uploads):
            if upload.asks and (upload.left or upload.account.pace.size):
                yield ("comes", number)
            if upload.being_sent:
                yield ("is sent", number)
            if not upload.over:
                yield ("goes away", number)

    def do(self, step: Step) -> None:
        what, number = step
        if what == "time":
            self.time()
            return
        {"comes": self.comes, "is sent": self.is_sent, "goes away": self.goes_away}[what](
            self.uploads[number]
        )

    def comes(self, upload: Upload) -> None:
        """A chunk; or the end."""
        if not upload.left:
            upload.wants_to_send.append(upload.account.pace.size)
        else:
            upload.left -= 1
            upload.waiter = self.budget._take(upload.account, upload.chunk)  # type: ignore[assignment]
        self._go_on()

    def is_sent(self, upload: Upload) -> None:
        """S3 has answered."""
        size, upload.being_sent = upload.being_sent, 0
        upload.account.give(size)
        self._go_on()

    def goes_away(self, upload: Upload) -> None:
        """Its client, at whatever moment."""
        upload.wants_to_send.clear()
        upload.over = True
        if upload.waiter is not None:
            self.budget._leave(upload.waiter)  # type: ignore[arg-type]
        if upload.being_sent:
            upload.account.give(upload.being_sent)
            upload.being_sent = 0
        upload.account.__exit__(None, None, None)
        self._go_on()

    def time(self) -> None:
        """Two seconds pass, in which nothing comes."""
        self.now += 2
        if any(upload.waits for upload in self.uploads):
            self.budget._look()
        self._go_on()

    def _go_on(self) -> None:
        """Whoever was woken, or has a free slot, does what it does by itself."""
        for upload in self.uploads:
            pace = upload.account.pace
            if not upload.waits and not upload.over and not upload.wants_to_send and pace.size > upload.part:
                upload.wants_to_send.append(upload.part)
            if upload.wants_to_send and not upload.being_sent:
                upload.being_sent = upload.wants_to_send.pop()
                upload.account.send(upload.being_sent)
                self._go_on()
                return
            if not upload.left and not pace.size and not upload.being_sent and not upload.over:
                upload.over = True
                upload.account.__exit__(None, None, None)

    def state(self) -> object:
        """Equal for two models for which the same can happen from here on, whichever upload is which."""
        budget = self.budget
        places = {waiter.account: place for place, waiter in enumerate(budget._line._all)}
        each = (
            (
                *(upload.left, upload.account.pace.size, upload.being_sent, tuple(upload.wants_to_send)),
                *(upload.over, upload.waits, upload.account.pace.quick(self.now)),
                *(upload.account is budget._ahead, budget._promises._left.get(upload.account, -1)),
                places.get(upload.account, -1),
            )
            for upload in self.uploads
        )
        return (tuple(sorted(each)), max(budget._recent, default=0))

    def check(self) -> None:
        """What holds after every step."""
        budget, there = self.budget, self.uploads
        ahead, line, promises = budget._ahead, budget._line, budget._promises
        assert budget.held == sum(upload.account.pace.size + upload.being_sent for upload in there)
        assert budget._sending == sum(upload.being_sent for upload in there)
        waiting = [upload for upload in there if upload.waits and not upload.over]
        assert line.size == sum(upload.chunk for upload in waiting)
        assert promises.total == sum(promises._left.values())
        assert all(left >= 0 for left in promises._left.values())
        accounts = {upload.account for upload in there if not upload.over}
        assert {*promises.accounts(), *filter(None, [ahead])} <= accounts
        # Memory is bounded.
        chunks = sum(2 * upload.chunk for upload in there if not upload.over)
        parts = max((upload.part for upload in there), default=0) * 2
        assert budget.held <= budget.limit + budget.limit // 8 + parts + chunks
        # Nobody waits for ever: something is being sent, or one goes on although it is over the limit.
        if waiting and not budget._sending:
            assert ahead is not None
            assert not any(upload.account is ahead for upload in waiting)
        # Quick ones wait for slow ones only where those have used up the eighth.
        quick = [upload for upload in waiting if upload.waiter is not None and upload.waiter.quick]
        if quick and not budget._sending and not promises.total:
            assert ahead is not None
            assert budget.held - line.size - ahead.pace.size > budget.limit + budget.limit // 8


def use_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let budgets be used without an event loop."""
    monkeypatch.setattr(module, "Waiter", Waiter)
