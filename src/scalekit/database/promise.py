"""What a visitor is to be shown at least, as it grows. Pure: whoever tells what happened tells when.

Rules:

* A commit comes after all that had been committed in its history when its transaction began, even where that
  was at a place which nobody knows.
* What was committed by a statement, and not by a COMMIT of ours, is in doubt until its place is known. The
  primary's log had it when that was asked afterwards, at the latest.
* A COMMIT that nobody answered has been applied or not after a minute, as far as anybody waits for it.

All moments are seconds on one clock that only goes forward.
"""

import math
from typing import NamedTuple

from scalekit.database.tokens import UNKNOWN, Token, latest

_UNANSWERED = 60.0  # seconds


class _Doubt(NamedTuple):
    place: Token
    since: float


class Promise:
    """What one visitor is to be shown at least.

    Args:
        token: what it is now.
        now: the moment.
    """

    __slots__ = ("_doubts", "_known", "_learned", "_since", "token")

    def __init__(self, token: Token | None, *, now: float) -> None:
        self.token = self._known = token
        self._since = now
        self._learned: dict[str, float] = {}  # origins that came later
        self._doubts: dict[object, _Doubt] = {}

    def and_also(self, token: Token | None, *, now: float) -> "Promise":
        """A promise of its own, of this and of ``token``."""
        other = Promise(latest(self._known, token), now=now)
        other._doubts = dict(self._doubts)
        other._show()
        return other

    @property
    def is_certain(self) -> bool:
        """Whether it is known where all of it is."""
        return self.token is None or self.token.is_known

    def committed(self, token: Token, *, now: float, began: float = -math.inf) -> None:
        """Something was committed, and the log was at ``token`` afterwards.

        Args:
            token: of a place that is not known, if nobody knows whether it was applied.
            now: the moment.
            began: when the transaction began.
        """
        old = self._known
        if old is None or not old.same_history(token):
            self._known = latest(old, token)
            if self._known is token:
                self._since, self._learned = now, {}
        elif len(old.marks) == 1 == len(token.marks) and old.marks[0][0] == token.marks[0][0] != UNKNOWN:
            # As on PostgreSQL nearly always.
            if token.marks[0][1] > old.marks[0][1]:
                self._known, self._learned[token.marks[0][0]] = token, now
        else:
            later = frozenset(origin for origin, _ in old.marks if self._learned_at(origin) >= began)
            self._follow(old, token, keeping=later, now=now)
        self._show()

    def doubt(self, whose: object, place: Token, *, now: float) -> None:
        """A statement of ``whose`` has committed something, after which the log was at ``place``: unknown."""
        self._doubts[whose] = _Doubt(place, now)
        self._show()

    def relieve(self, whose: object) -> None:
        """Of ``whose`` nothing is in doubt any more."""
        if self._doubts.pop(whose, None) is not None:
            self._show()

    def lapse(self, whose: object, *, now: float) -> None:
        """``whose`` is gone without a word, and commits nothing any more."""
        doubt = self._doubts.get(whose)
        if doubt is not None:
            self._doubts[whose] = doubt._replace(since=now)

    def settle(self, written: Token, *, asked: float) -> None:
        """The primary's log was at ``written`` when that was asked, at the moment ``asked`` or later."""
        known = self._known
        if known is not None and (known.system != written.system or known.epoch > written.epoch):
            return
        left = {
            whose: doubt
            for whose, doubt in self._doubts.items()
            if doubt.since >= asked
            or doubt.place.system != written.system
            or doubt.place.epoch > written.epoch
        }
        unanswered = known is not None and not known.is_known
        settled = unanswered and self._learned_at(UNKNOWN) + _UNANSWERED < asked
        if not settled and len(left) == len(self._doubts):
            return
        self._doubts = left
        if known is not None and known.same_history(written):
            keeping = frozenset(origin for origin, _ in known.marks if origin != UNKNOWN or not settled)
            self._follow(known, written, keeping=keeping, now=asked)
        else:
            self._known, self._learned, self._since = written, {}, asked
        self._show()

    def _follow(self, old: Token, token: Token, *, keeping: frozenset[str], now: float) -> None:
        self._known = old.followed_by(token, keeping=keeping)
        before = dict(old.marks)
        for origin, number in token.marks:
            if origin == UNKNOWN or number > before.get(origin, -1):
                self._learned[origin] = now

    def _learned_at(self, origin: str) -> float:
        return self._learned.get(origin, self._since)

    def _show(self) -> None:
        token = self._known
        for doubt in self._doubts.values():
            token = latest(token, doubt.place)
        self.token = token
