"""Log a user out: everywhere with --all, or of the sessions whose ids "scalekit sessions list" shows.

It takes effect with the next request of each. Interrupted, it may have ended some: run it again to go on.
The exit status is 1 if an ID names no session of the user.
"""

import argparse
import re
from typing import TYPE_CHECKING, Any

from scalekit.cli._sessions import add_sessions, ask, users
from scalekit.cli._stop import Stopped
from scalekit.cli._values import counted
from scalekit.cli.sessions_list import find
from scalekit.errors import ConfigurationError

if TYPE_CHECKING:
    from scalekit._steps import Steps
    from scalekit.cli._sessions import User
    from scalekit.cli._terminal import Terminal

SUMMARY = "log a user out, everywhere or of some sessions"

_PART = re.compile(r"[0-9a-f]{8,64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sessions(parser)
    parser.add_argument("ids", nargs="*", metavar="ID", help="which, by the first 8 digits at least")
    parser.add_argument("--all", action="store_true", help="every session of the user")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    if arguments.all == bool(arguments.ids):
        what = "not both: give" if arguments.all else "which sessions? Give"
        raise ConfigurationError(f"{what} IDs as 'scalekit sessions list' shows them, or --all")
    for part in arguments.ids:
        if not _PART.fullmatch(part):
            raise ConfigurationError(f"{part!r:.80} is no id; of one give 8 hexadecimal digits or more")
    who = users(arguments)
    try:
        ended, missing = ask(
            arguments, lambda sessions: _end(sessions, who, None if arguments.all else arguments.ids)
        )
    except Stopped:
        terminal.problem("stopped; some may have ended. Run it again to go on")
        raise
    for part in missing:
        terminal.problem(f"{arguments.user} has no session {part} (any more); list them again")
    terminal.record({"done": True, "ended": ended, "missing": missing})
    terminal.say(f"{counted(ended, 'session')} ended")
    return 1 if missing else 0


def _end(sessions: Any, who: "list[User]", parts: list[str] | None) -> "Steps[tuple[int, list[str]]]":
    """How many have ended, and which ``parts`` name none; all end without ``parts``."""
    ended = 0
    if parts is None:
        for user in who:
            ended += yield sessions.revoke_all(user)
        return ended, []
    known = yield from find(sessions, who)
    chosen: dict[str, User] = {}
    missing: list[str] = []
    for part in parts:
        begun = {info.id: user for user, info in known if info.id.startswith(part)}
        if len(begun) > 1:
            raise ConfigurationError(f"{part} begins the ids of {len(begun)} sessions; give more of it")
        chosen |= begun
        if not begun:
            # A whole id finds also what it was rotated to since, and what cannot be decrypted.
            whole = 0
            for user in who if len(part) == 64 else ():
                whole += yield sessions.revoke(user, part)
            ended += whole
            missing += [] if whole else [part]
    for id, user in chosen.items():
        ended += yield sessions.revoke(user, id)
    return ended, missing
