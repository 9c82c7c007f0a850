"""Asking the members in the background; in two colours, :mod:`.probe_threads` and :mod:`.probe_tasks`.

Rules:

* One question at a time and member; each on its own, so that a server that hangs delays no other.
* Every question has a deadline. When it passes, the connection is cut, which makes the question fail.
* A member that fails is asked again at once over a new connection; only when that fails too it is out. Until
  then nothing new begins on a primary: a frozen one would keep it for as long as it likes.
* A server with no connection left for the question is what it was: who has one uses it.
* Started with the first transaction, and again after a fork or on a new event loop; stopping leaves
  nothing behind.
* Whatever a question ends in, there is a next one: a member that nobody asks any more would stay what it was
  said to be last.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from scalekit._steps import Steps
from scalekit.database.directory import Directory
from scalekit.database.engines import describe
from scalekit.database.identity import SEVERAL
from scalekit.database.member import Member
from scalekit.database.report import Report
from scalekit.database.roles import Roles

_log = logging.getLogger("scalekit.database")

# An answer that has arrived gets this long to be noticed by a process that was busy with something else.
GRACE = 0.05


def ask(roles: Roles, member: Member) -> Steps[None]:
    """One question to one member, and what follows from its answer."""
    asked = time.monotonic()
    before = member.health.report
    outcome = yield from member.probe.ask(lambda reason: roles.doubt(member, reason))
    if member.probe.full and before is not None and member.health.failure is None:
        # As for anybody who comes now. Those who have a connection go on, also over ours.
        roles.full(member, str(outcome), asked=asked)
        return
    if isinstance(outcome, Report):
        if member.identity.probed(outcome):
            _log.warning("%s: %s", member.name, SEVERAL)
        if before is not None and before.server != outcome.server and not member.identity.several:
            # Restarted: what is in the pools is dead, and would cost one request each an error. What was
            # opened since the last answer of the old process may belong to the new one already.
            member.cut_older(before.asked)
    roles.heard(member, outcome, asked=asked)
    if isinstance(outcome, str):
        # Reads that wait for it would wait for ever; they are repeated elsewhere. Writes are not cut: it
        # may only be slow, and nobody else can take them.
        member.cut_reads()
    elif member is roles.primary:
        yield from member.drop_idle_readers()


class Prober(ABC):
    """What asks in the background, whatever the colour.

    Args:
        roles: whom to ask, and whom to tell.
        interval: seconds between two questions to a member.
    """

    def __init__(self, roles: Roles, *, interval: float) -> None:
        self._roles, self._interval = roles, interval
        self._process: int | None = None
        self._told: dict[Member, str] = {}

    @abstractmethod
    def poke(self) -> None:
        """Ask everyone now."""

    @abstractmethod
    def members_changed(self) -> None:
        """Others are to be asked than before."""

    def _ask(self, member: Member) -> Steps[None]:
        """One question to one member, which is left out while nobody knows how to ask it."""
        try:
            yield from ask(self._roles, member)
        except Exception as error:  # noqa: BLE001  unforeseen, or it would be an answer
            reason = f"it cannot be asked how it is: {describe(error)}"
            if self._told.get(member) != reason:
                _log.exception("%s: %s", member.name, reason)
            self._told[member] = member.suspected = reason
            member.probe.cut()
        else:
            self._told.pop(member, None)

    @contextmanager
    def _listing(self, directory: Directory) -> Iterator[None]:
        """Inside, ``directory`` is asked who the members are, and the roles are told."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  the application's function may raise anything
            directory.failed(error)
            self._roles.without_list()
            self.poke()
        else:
            directory.worked()
            self.members_changed()
