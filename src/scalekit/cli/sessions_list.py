"""Show where a user is logged in: on which devices, since when, and until when.

The id names a session to "scalekit sessions revoke". Nobody can log in with it.
"""

import argparse
from typing import TYPE_CHECKING, Any

from scalekit.cli._sessions import User, add_sessions, ask, users

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
        terminal.table(
            ["id", "logged in", "last seen", "ends", "device"],
            [
                [
                    info.id[:SHOWN],
                    *map(_shown, (info.created, info.last_seen, info.expires)),
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


def _shown(moment: "datetime") -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
