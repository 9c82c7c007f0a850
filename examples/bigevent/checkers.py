"""What must not be in a history. Pure functions; each returns what it found.

Rules:

* An acknowledgement binds. What is unclear binds nobody: it may be there or not, and come late.
* The events of one user are in order, those of several are not: nothing is concluded across users, but that
  nobody sees anything of another's.
* Redis replicates behind. A change of a session that was acknowledged within `BEHIND` seconds before its
  master was lost may be lost with it. That is no other kind of loss, but it has a name of its own, so that
  it does not hide one that scalekit would have to answer for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from examples.bigevent.history import Event, Failure, Final

BEHIND = 2.0
NOTICE = 6.0
"""Seconds after which pages have to do without a CDN that does not answer."""

FAIL_OVER = "session writes lost at fail-over"


@dataclass(frozen=True)
class Violation:
    """Args:
    checker: which found it.
    user: whom it hit.
    at: when it showed, in seconds.
    text: what was wrong.
    written: when the change of a session was acknowledged that is missing.
    """

    checker: str
    user: str
    at: float
    text: str
    written: float | None = None


def acknowledged_writes(events: Sequence[Event], final: Final) -> list[Violation]:
    """Every acknowledged write is there at the end."""
    found = []
    for event in events:
        if event.outcome != "done":
            continue
        if event.what == "write" and final.versions.get((event.user, event.key), 0) < event.value:
            found.append(_violation("acknowledged writes", event, f"{event.key} {event.value}"))
        if event.what == "checkout" and final.orders.get(event.key) != (event.user, frozenset(event.value)):
            found.append(_violation("acknowledged writes", event, f"order {event.key}"))
    return found


def stale_reads(events: Sequence[Event]) -> list[Violation]:
    """No read is older than the same user's last write."""
    found = []
    for _, own in _by_user(events):
        known: dict[str, int] = {}
        for event in own:
            if event.outcome != "done":
                continue
            if event.what == "write":
                known[event.key] = max(event.value, known.get(event.key, 0))
            elif event.what == "checkout":
                known[f"account/order/{event.key}"] = 1
            elif event.what == "read":
                older = [
                    name
                    for name, version in known.items()
                    if name.startswith(event.key) and event.value.get(name, 0) < version
                ]
                if older:  # one read is one violation, however much of it is old
                    found.append(_violation("stale reads", event, ", ".join(older)))
    return found


def other_users(events: Sequence[Event]) -> list[Violation]:
    """Nobody sees another user's data."""
    return [
        _violation("other users' data", event, f"saw {user}")
        for event in events
        for user in event.seen
        if user != event.user
    ]


def carts(events: Sequence[Event]) -> list[Violation]:
    """No cart loses an item, and nothing comes back that was ordered."""
    return [violation for _, own in _by_user(events) for violation in _cart(own)]


def _cart(own: Iterable[Event]) -> list[Violation]:
    found: list[Violation] = []
    inside: dict[str, float] = {}  # what is in it, and when that was acknowledged
    perhaps: set[str] = set()
    ordered = 0.0
    for event in own:
        if event.what == "put":
            if event.outcome == "done":
                inside[event.key] = event.ended
            if event.outcome == "unclear" or event.doubt:
                perhaps.add(event.key)
        elif event.what == "checkout" and event.outcome == "unclear":
            perhaps |= inside.keys()
            inside.clear()
        elif event.what in ("cart", "checkout") and event.outcome == "done":
            shown = set(event.value)
            for key in inside.keys() - shown:
                text = f"{key} is missing from the {event.what}"
                found.append(_violation("carts", event, text, written=inside.pop(key)))
            for key in shown - inside.keys():
                if key not in perhaps:
                    found.append(_violation("carts", event, f"{key} came back", written=ordered))
                if event.what == "cart":
                    inside[key] = event.ended
            if event.what == "checkout":
                # It leaves the cart with the answer: where an attempt was unclear, that may come later.
                if event.doubt:
                    perhaps |= shown
                inside.clear()
                ordered = event.ended
    return found


def uploads(events: Sequence[Event]) -> list[Violation]:
    """No upload is gone, or differs from its checksum."""
    found = []
    for _, own in _by_user(events):
        stored: dict[str, str] = {}
        for event in own:
            if event.what == "upload" and event.outcome == "done":
                stored[event.key] = event.value
            elif event.what == "download" and event.key in stored:
                if event.outcome == "missing":
                    found.append(_violation("uploads", event, f"{event.key} is gone"))
                elif event.outcome == "done" and event.value != stored[event.key]:
                    found.append(_violation("uploads", event, f"{event.key} is another"))
    return found


def dead_assets(events: Sequence[Event]) -> list[Violation]:
    """No page has a dead asset: one that is not there, or is not what the page was made for.

    While nobody answers for it, the page's asset is a failure like others; from `NOTICE` seconds after the
    first such answer, and until the first good one, pages must not name that address any more.
    """
    found = []
    down: dict[str, float] = {}
    for event in sorted((event for event in events if event.what == "asset"), key=attrgetter("ended")):
        host = "/".join(event.key.split("/")[:3])
        if event.outcome == "unclear":
            since = down.setdefault(host, event.ended)
            if event.page > since + NOTICE:
                found.append(_violation("dead assets", event, f"{event.key}: nobody answers"))
            continue
        down.pop(host, None)
        if event.outcome == "missing" or not event.value:
            text = "is not there" if event.outcome == "missing" else "is another release's"
            found.append(_violation("dead assets", event, f"{event.key} {text}"))
    return found


def lost_logins(events: Sequence[Event]) -> list[Violation]:
    """Who has logged in stays logged in."""
    found = []
    for _, own in _by_user(events):
        since: float | None = None
        for event in own:
            if event.what == "login":
                since = event.ended if event.outcome == "done" else None
            elif event.outcome == "anonymous" and since is not None:
                found.append(_violation("log-ins", event, f"{event.what}: not logged in", written=since))
                since = None
    return found


def lost_by_drains(
    failures: Sequence[Failure], drains: Sequence[tuple[int, float, float]]
) -> list[Violation]:
    """No request fails because its server was told to leave.

    Args:
        drains: port, beginning and end of each.
    """
    return [
        Violation(
            "requests of drained servers", "", failure.at, f"{failure.cause} from port {failure.server}"
        )
        for failure in failures
        if failure.cause in ("502", "504", "closed")
        and any(
            port == failure.server and began <= failure.at <= ended + 1.0 for port, began, ended in drains
        )
    ]


OF_HISTORY: tuple[Callable[[Sequence[Event]], list[Violation]], ...] = (
    stale_reads, other_users, carts, uploads, dead_assets, lost_logins,
)  # fmt: skip

CHECKERS = (
    "acknowledged writes", "stale reads", "other users' data", "carts", "uploads", "dead assets", "log-ins",
    "requests of drained servers", FAIL_OVER,
)  # fmt: skip
"""Names, in the order of the report."""


def attribute(violations: Iterable[Violation], masters_lost: Sequence[float]) -> list[Violation]:
    """The same, with what was lost at a fail-over of Redis under that name.

    Args:
        masters_lost: when Redis lost a master, in seconds.
    """
    return [
        Violation(FAIL_OVER, each.user, each.at, f"{each.checker}: {each.text}", each.written)
        if each.written is not None and any(lost - BEHIND <= each.written <= lost for lost in masters_lost)
        else each
        for each in violations
    ]


def counts(violations: Iterable[Violation]) -> dict[str, int]:
    """Checker to violations, those with none too."""
    counted = Counter(violation.checker for violation in violations)
    return {checker: counted[checker] for checker in CHECKERS}


def _by_user(events: Sequence[Event]) -> Iterable[tuple[str, Iterable[Event]]]:
    return groupby(sorted(events, key=attrgetter("user")), attrgetter("user"))  # sorting keeps their order


def _violation(checker: str, event: Event, text: str, *, written: float | None = None) -> Violation:
    return Violation(checker, event.user, event.ended, text, written)
