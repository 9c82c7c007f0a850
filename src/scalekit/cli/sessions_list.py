"""Show where a user is logged in: on which devices, since when, and until when.

The id names a session to "scalekit sessions revoke". Nobody can log in with it.
"""

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scalekit.cli._sessions import User, add_sessions, ask, users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalekit._steps import Steps
    from scalekit.cli._terminal import Terminal
    from scalekit.sessions import SessionInfo

SUMMARY = "show where a user is logged in"

SHOWN = 12
"""Digits of an id: no two sessions of a user begin with the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sessions(parser)


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    known = ask(arguments, lambda sessions: find(sessions, users(arguments)))
    for user, info in known:
        terminal.record(_facts(user, info))
    terminal.record({"done": True, "sessions": len(known)})
    if known:
        now = datetime.now(UTC)
        terminal.table(
            ["id", "logged in", "last seen", "ends", "device"],
            [
                [
                    info.id[:SHOWN],
                    f"{_apart(now - info.created)} ago",
                    f"{_apart(now - info.last_seen)} ago",
                    f"in {_apart(info.expires - now)}",
                    info.device or "",
                ]
                for _, info in known
            ],
        )
    else:
        terminal.say(f"{arguments.user} is not logged in")
    return 0


def find(sessions: Any, who: "Sequence[User]") -> "Steps[list[tuple[User, SessionInfo]]]":
    """The sessions of a user, the last seen first, each with who the user is to the application."""
    found: list[tuple[User, SessionInfo]] = []
    for user in who:
        infos = yield sessions.list(user)
        found += [(user, info) for info in infos]
    return sorted(found, key=lambda pair: pair[1].last_seen, reverse=True)


def _facts(user: User, info: "SessionInfo") -> dict[str, Any]:
    return {
        "user": user if isinstance(user, str | int) else str(user),
        "id": info.id,
        "device": info.device,
        "created": info.created.isoformat(),
        "last_seen": info.last_seen.isoformat(),
        "expires": info.expires.isoformat(),
    }


def _apart(time: timedelta) -> str:
    """Such as ``"3 h"``: in a narrow terminal dates would leave no room for the device."""
    seconds = max(0, round(time.total_seconds()))  # clocks differ
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
