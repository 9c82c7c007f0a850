"""What must not be in a history. Pure functions; each returns what it found.

Rules:

* An acknowledgement binds. What is unclear binds nobody: it may be there or not, and come late. But at the
  end, when nothing is broken any more, all that is looked at can be seen.
* The events of one user are in order, those of several are not: nothing is concluded across users, but that
  nobody sees anything of another's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from examples.bigevent.history import Event, Failure, Final
from examples.bigevent.violations import Violation

NEAR = 3.0
"""Seconds within which an error of two servers has one reason, which is not that one of them leaves."""

NOTICE = 6.0
"""Seconds after which pages have to do without a CDN that does not answer."""

TRIES = 3
"""So often in a row an address of an asset gets no good answer, while its host gives others."""


def acknowledged_writes(events: Sequence[Event], final: Final) -> list[Violation]:
    """Every acknowledged write is there at the end."""
    found = []
    for event in events:
        if event.outcome != "done":
            continue
        if event.what == "write" and final.versions.get((event.user, event.key), 0) < event.value:
            found.append(Violation.at_event("acknowledged writes", event, f"{event.key} {event.value}"))
        if event.what == "checkout" and final.orders.get(event.key) != (event.user, frozenset(event.value)):
            found.append(Violation.at_event("acknowledged writes", event, f"order {event.key}"))
        if event.what == "upload" and final.photos.get(event.key) != event.user:
            found.append(Violation.at_event("acknowledged writes", event, f"photo {event.key}"))
    return found


def stale_reads(events: Sequence[Event]) -> list[Violation]:
    """No read is older than the same user's last write."""
    found = []
    for _, own in _by_user(events):
        known: dict[str, tuple[int, float]] = {}  # the version, and when it was acknowledged
        for event in own:
            if event.what == "read" and _unseen(event):
                text = f"{event.key} cannot be read at the end"
                found.append(Violation.at_event("stale reads", event, text))
            elif event.what == "write" and event.outcome == "done":
                known[event.key] = max((event.value, event.ended), known.get(event.key, (0, 0.0)))
            elif event.what == "checkout" and event.outcome == "done":
                known[f"account/order/{event.key}"] = 1, event.ended
            elif event.what == "read" and event.outcome in ("done", "missing"):
                # A page that is not there shows nothing of what was written.
                shown = event.value if event.outcome == "done" else {}
                older = [
                    f"{name}, written {event.began - at:.2f} s before"
                    for name, (version, at) in known.items()
                    if name.startswith(event.key) and shown.get(name, 0) < version
                ]
                if older:  # one read is one violation, however much of it is old
                    found.append(Violation.at_event("stale reads", event, ", ".join(older)))
    return found


def other_users(events: Sequence[Event]) -> list[Violation]:
    """Nobody sees another user's data."""
    return [
        Violation.at_event("other users' data", event, f"saw {user}")
        for event in events
        for user in event.seen
        if user != event.user
    ]


def carts(events: Sequence[Event], final: Final = Final()) -> list[Violation]:
    """No cart loses an item, and nothing comes back that was ordered.

    Where a check-out was unclear, what was in the cart is there still, or in that order, but not in neither.
    """
    return [violation for _, own in _by_user(events) for violation in _cart(own, final)]


def _cart(own: Iterable[Event], final: Final) -> list[Violation]:
    found: list[Violation] = []
    inside: dict[str, float] = {}  # what is in it, and when that was acknowledged
    either: dict[str, float] = {}  # what is in it or in an order that was unclear
    perhaps: set[str] = set()
    taken: set[str] = set()  # by orders that were unclear: that may come late
    sold: set[str] = set()  # what came back after that, late, may go as late
    ordered = 0.0
    for event in own:
        if event.what == "put":
            if event.outcome == "done":
                inside[event.key] = event.ended
            if event.outcome == "unclear" or event.doubt:
                perhaps.add(event.key)
        elif event.what == "checkout" and event.outcome == "unclear":
            taken |= final.orders.get(event.key, ("", frozenset[str]()))[1]
            perhaps |= inside.keys()
            either |= inside
            inside.clear()
        elif event.what in ("cart", "checkout") and event.outcome == "done":
            shown = set(event.value)
            for key in inside.keys() - shown:
                written = inside.pop(key)
                if key not in taken:
                    text = f"{key} is missing from the {event.what}"
                    found.append(Violation.at_event("carts", event, text, written=written))
            for key in shown - inside.keys():
                if key not in perhaps:
                    found.append(Violation.at_event("carts", event, f"{key} came back", written=ordered))
                if event.what == "cart" and key not in sold:
                    inside[key] = event.ended
            either = {key: written for key, written in either.items() if key not in shown}
            if event.what == "checkout":
                inside.clear()
                sold |= shown
                ordered = event.ended
        elif event.what == "cart" and _unseen(event):
            found.append(Violation.at_event("carts", event, "it cannot be seen at the end"))
        if event.what == "cart" and event.final and event.outcome == "done":
            for key in either.keys() - taken:
                text = f"{key} is neither in the cart nor in an order"
                found.append(Violation.at_event("carts", event, text, written=either[key]))
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
                    found.append(Violation.at_event("uploads", event, f"{event.key} is gone"))
                elif _unseen(event):
                    found.append(
                        Violation.at_event("uploads", event, f"{event.key} cannot be had at the end")
                    )
                elif event.outcome == "done" and event.value != stored[event.key]:
                    found.append(Violation.at_event("uploads", event, f"{event.key} is another"))
    return found


def dead_assets(events: Sequence[Event]) -> list[Violation]:
    """No page has a dead asset: one that is not there, or is not what the page was made for.

    While nobody answers for it, the page's asset is a failure like others; from `NOTICE` seconds after the
    first such answer, and until the first good one, pages must not name that host any more. And where the
    host answers well for others, an address must not fail `TRIES` times in a row.
    """
    found = []
    down: dict[str, float] = {}
    answered: set[str] = set()  # addresses that failed, and whose host has answered well since then
    failed = Counter[str]()  # how often in a row, with good answers of the host between
    for event in sorted((event for event in events if event.what == "asset"), key=attrgetter("ended")):
        host = "/".join(event.key.split("/")[:3]) if "://" in event.key else ""
        if event.outcome == "unclear":
            since = down.setdefault(host, event.ended)
            failed[event.key] += event.key in answered or not failed[event.key]
            answered.discard(event.key)
            if event.page > since + NOTICE or failed[event.key] >= TRIES:
                found.append(Violation.at_event("dead assets", event, f"{event.key}: nobody answers"))
            continue
        down.pop(host, None)
        failed.pop(event.key, None)
        answered |= {key for key in failed if key.startswith(f"{host}/")}
        if event.outcome == "missing" or not event.value:
            text = "is not there" if event.outcome == "missing" else "is another release's"
            found.append(Violation.at_event("dead assets", event, f"{event.key} {text}"))
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
                found.append(
                    Violation.at_event("log-ins", event, f"{event.what}: not logged in", written=since)
                )
                since = None
    return found


def lost_by_drains(
    failures: Sequence[Failure], drains: Sequence[tuple[int, float, float]]
) -> list[Violation]:
    """No request fails because its server was told to leave: nginx had no whole answer of it; or it answers
    that something broke, again and again, and no other server does at that time.

    Args:
        drains: port, beginning and end of each.
    """
    refused: dict[int, list[Failure]] = {}
    found = []
    for failure in failures:
        port = failure.server
        if not any(port == left and began <= failure.at <= ended + 1.0 for left, began, ended in drains):
            continue
        if failure.cause in ("502", "504", "closed"):
            found.append(failure)
        elif failure.cause in ("500", "503") and not any(
            other.server != port and other.cause == failure.cause and abs(other.at - failure.at) < NEAR
            for other in failures
        ):
            refused.setdefault(port, []).append(failure)
    found += [failure for alone in refused.values() if len(alone) > 1 for failure in alone]
    return [
        Violation(
            "requests of drained servers", "", failure.at, f"{failure.cause} from port {failure.server}"
        )
        for failure in found
    ]


OF_HISTORY: tuple[Callable[[Sequence[Event]], list[Violation]], ...] = (
    stale_reads, other_users, uploads, dead_assets, lost_logins,
)  # fmt: skip
OF_THE_END: tuple[Callable[[Sequence[Event], Final], list[Violation]], ...] = (acknowledged_writes, carts)


def shown_by(events: Sequence[Event], final: Final) -> list[Violation]:
    """All that the history shows."""
    found = [violation for check in OF_HISTORY for violation in check(events)]
    return found + [violation for check in OF_THE_END for violation in check(events, final)]


def _by_user(events: Sequence[Event]) -> Iterable[tuple[str, Iterable[Event]]]:
    return groupby(sorted(events, key=attrgetter("user")), attrgetter("user"))  # sorting keeps their order


def _unseen(event: Event) -> bool:
    """Whether it could not be looked at, at the end."""
    return event.final and event.outcome in ("unclear", "missing")
