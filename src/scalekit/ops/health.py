"""Is this server alive, and should it get traffic? Rules only: no I/O, no clock of its own.

Rules:

* *Live* means that the process answers. It depends on nothing: a server that restarts because its
  database is away comes back to the same database, later.
* *Started* means that the application's own start-up is complete, and that all was ready once. It never goes
  back: whoever asks has slow starters left alone for so long, and has other questions from then on.
* *Ready* means "send me traffic": every required check passed when it last ran, and no drain has begun.
* An optional check is reported and never flips readiness: a blip of a shared Redis must not eject the
  whole fleet at once.
* A check that is required once holds a server back until it has passed, so that a release with a wrong
  password takes nobody's place; from then on it is an optional one, for the same reason as above.
* A result is good for ``ttl``. Past that one request starts one new run of the check; all others are
  answered with what is known. A check that is still running is never started again.
* A check that runs longer than its ``timeout`` has failed, whether or not it ever returns.
* Reports name the checks and the class of an error, never its message: messages carry addresses and
  now and then passwords.
"""

import json
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scalekit._durations import Duration, seconds
from scalekit._forks import renew_in_children
from scalekit._options import check_items, check_kind
from scalekit.dependencies import Required
from scalekit.errors import ConfigurationError

Status: TypeAlias = Literal["ready", "starting", "unavailable", "draining"]


class Check:
    """One dependency, and how to ask whether it answers.

    Args:
        name: how reports call it.
        call: takes nothing. It passes when it returns anything but ``False`` and fails when it raises or
            returns ``False``. Plain functions run in a thread of their own, so they may block; what a
            function returns to be awaited is awaited on the event loop, and needs the ASGI shell.
        required: whether a failure makes the server not ready. ``False`` only reports it; ``"once"`` does so
            after the check has passed for the first time.
        timeout: seconds (or ``timedelta``) until a run counts as failed, 1 by default.
        ttl: seconds (or ``timedelta``) for which a result is good, 5 by default.

    Raises:
        ConfigurationError: an empty name, a call that cannot be called, or a duration below a millisecond.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[], object | Awaitable[object]],
        *,
        required: Required = True,
        timeout: Duration = 1.0,
        ttl: Duration = 5.0,
    ) -> None:
        if not name:
            raise ConfigurationError("a check needs a name: Check('database', ping)")
        if not callable(call):
            raise ConfigurationError(
                f"check {name!r:.100} must be given a function to call, such as Check('database', ping), "
                f"not {type(call).__name__}"
            )
        if required not in (True, False, "once"):
            raise ConfigurationError(f"required={required!r:.40} must be True, False or 'once'")
        self.name = name
        self.call = call
        self.required = required
        self.timeout = seconds(timeout, name="timeout", minimum=0.001)
        self.ttl = seconds(ttl, name="ttl", minimum=0.001)


@dataclass(frozen=True)
class Report:
    """What to answer: ``status`` in words, ``ready`` in one bit, and the JSON ``body``."""

    status: Status
    body: bytes

    @property
    def ready(self) -> bool:
        return self.status == "ready"


@dataclass
class _State:
    """What is known of one check. Times are readings of the caller's monotonic clock."""

    started: float | None = None  # not None: a run is under way
    finished: float | None = None  # None: no run has come back yet
    took: float = 0.0
    error: str | None = None
    passed: bool = False  # ever

    def overdue(self, check: Check, now: float) -> bool:
        return self.started is not None and now - self.started >= check.timeout

    def outcome(self, check: Check, now: float) -> tuple[bool | None, str | None]:
        """Passed, failed or ``None`` for not known yet; and why it failed."""
        if self.overdue(check, now):
            return False, "timeout"
        if self.finished is None:
            return None, None
        return self.error is None, self.error


class Health:
    """The results of all checks, and the answer they amount to. Safe to share between threads.

    Args:
        checks: the dependencies to ask; with none the server is ready unless it drains.

    Raises:
        ConfigurationError: something else than checks, or two of one name.
    """

    def __init__(self, checks: Iterable[Check] = ()) -> None:
        self.checks: tuple[Check, ...] = check_items(checks, option="checks=")
        self._states: dict[str, _State] = {}
        for check in self.checks:
            check_kind(
                check, Check, option="each of checks=", wanted="a check, such as Check('database', ping)"
            )
            if check.name in self._states:
                raise ConfigurationError(f"two checks are called {check.name!r}; reports tell them by name")
            self._states[check.name] = _State()
        self.started = False
        """Whether all that is required has passed at the same time, once."""
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """What was known stays known; what is under way in another thread never comes back to a child."""
        self._lock = threading.Lock()
        for state in self._states.values():
            state.started = None

    def begin(self, now: float) -> list[Check]:
        """The checks to run now, marked as running: whoever calls this runs them and calls `finish`."""
        due = []
        with self._lock:
            for check in self.checks:
                state = self._states[check.name]
                stale = state.finished is None or now - state.finished >= check.ttl
                if stale and state.started is None:
                    state.started = now
                    due.append(check)
        return due

    def finish(self, check: Check, now: float, error: str | None) -> bool:
        """Record the end of a run; ``error`` is the class of what it raised, ``None`` if it passed.

        Returns:
            Whether this is news: the first result, or another than the last.
        """
        with self._lock:
            state = self._states[check.name]
            before = state.finished, state.error
            # A result that comes in late is a failure all the same: requests would have waited as long.
            if state.overdue(check, now):
                error = "timeout"
            state.took = now - state.started if state.started is not None else 0.0
            state.started, state.finished, state.error = None, now, error
            state.passed = state.passed or error is None
            return before[0] is None or before[1] != error

    def report(self, now: float, *, draining: bool = False) -> Report:
        """The answer for a readiness probe at ``now``."""
        with self._lock:
            outcomes = {check.name: self._states[check.name].outcome(check, now) for check in self.checks}
            checks = {check.name: self._describe(check, now, *outcomes[check.name]) for check in self.checks}
            required = [outcomes[check.name][0] for check in self.checks if self._counts(check)]
        status: Status = "unavailable" if False in required else "starting" if None in required else "ready"
        self.started = self.started or status == "ready"
        if draining:
            status = "draining"
        return Report(status, json.dumps({"status": status, "checks": checks}).encode())

    def _counts(self, check: Check) -> bool:
        return not self._states[check.name].passed if check.required == "once" else bool(check.required)

    def _describe(
        self, check: Check, now: float, passed: bool | None, error: str | None
    ) -> dict[str, object]:
        state = self._states[check.name]
        described: dict[str, object] = {"ok": passed, "required": check.required}
        if error is not None:
            described["error"] = error
        if state.finished is not None:
            described |= {"took_ms": round(state.took * 1000, 1), "age_s": round(now - state.finished, 1)}
        return described
