"""Look at the application APP, and at the servers that it uses, for what loses data or falls over on the day.

APP is module:app, as for uvicorn and gunicorn, or path/file.py:app. It is loaded, and gets no request; of the
servers that it uses only settings are read.

What an application does not tell is said by options. What they leave out is listed at the end as not looked
at.

The exit status is 1 if there is a finding as grave as --fail-on says, an error by default; 2 if APP cannot be
loaded; and else 0.
"""

import argparse
import contextlib
import sys
import textwrap
from typing import TYPE_CHECKING

from scalekit.cli._in_time import in_time
from scalekit.cli._objects import CURE, add_loading, loading, quiet
from scalekit.cli._values import positive, seconds

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.ops.doctor import Examination, Finding

SUMMARY = "find what loses data or falls over on the day"

_LEVELS = ("error", "warning", "note", "never")
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="module:app, or path/file.py:app")
    add_loading(parser, target="APP", returns="the application")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="OBJECT",
        help="look at this too, module:cluster for example, which APP does not lead to; may be given again",
    )
    parser.add_argument("--servers", type=positive, metavar="N", help="how many there are at the most")
    parser.add_argument(
        "--command",
        metavar="TEXT",
        help="what starts a server, such as 'uvicorn shop:app --workers 4 --timeout-keep-alive 75'",
    )
    parser.add_argument(
        "--idle-timeout", type=seconds, metavar="S", help="how long the balancer keeps idle connections"
    )
    parser.add_argument("--slowest", type=seconds, metavar="S", help="how long the slowest request takes")
    parser.add_argument(
        "--killed-after",
        type=seconds,
        metavar="S",
        help="how long the platform waits for a server to stop before it kills it",
    )
    parser.add_argument("--url", metavar="URL", help="a page of the running site, which is asked for")
    parser.add_argument(
        "--origin", metavar="URL", help="an address of the servers behind the CDN, which should refuse"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=15.0, metavar="S", help="for all that is asked, in seconds (15)"
    )
    parser.add_argument(
        "--fail-on",
        choices=_LEVELS,
        default="error",
        help="the mildest finding for which the exit status is 1 (error)",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.ops.doctor import Around, examine, load

    around = Around(
        servers=arguments.servers,
        command=arguments.command,
        idle_timeout=arguments.idle_timeout,
        slowest=arguments.slowest,
        killed_after=arguments.killed_after,
        url=arguments.url,
        origin=arguments.origin,
        timeout=arguments.timeout,
    )
    # What the application prints when it is imported is no result; what is logged of servers is found anyway.
    with contextlib.redirect_stdout(sys.stderr), terminal.activity() as status:
        status(f"loading {arguments.app}")
        with loading(arguments.app, arguments):
            app = load(arguments.app, factory=arguments.factory)
            also = [load(name) for name in arguments.also]
        status("asking the servers that it uses")
        # Servers have their own time; the application's middlewares are made as well.
        longest = arguments.load_timeout + arguments.timeout
        with quiet(), in_time(longest, what=f"{arguments.app} is not looked at", cure=CURE):
            found = examine(app, also=also, around=around)
    _tell(found, terminal)
    return 1 if _fails(found.findings, arguments.fail_on) else 0


def _fails(findings: "list[Finding]", level: str) -> bool:
    return any(_LEVELS.index(one.severity) <= _LEVELS.index(level) for one in findings) and level != "never"


def _tell(found: "Examination", terminal: "Terminal") -> None:
    for one in found.findings:
        terminal.record(one.as_dict())
        terminal.say(f"{one.severity}: {one.code}", style=_STYLES[one.severity])
        _say(one.what, terminal)
        _say(f"cure: {one.cure}", terminal)
        _say(f"where: {one.where}; see {one.link}", terminal, style="dim")
        terminal.say("")
    count = {level: sum(one.severity == level for one in found.findings) for level in _LEVELS[:3]}
    terminal.record(
        {"done": True, "unchecked": found.unchecked} | {f"{name}s": n for name, n in count.items()}
    )
    if found.unchecked:
        terminal.say("not looked at:", style="dim")
        for text in found.unchecked:
            _say(text, terminal, style="dim")
        terminal.say("")
    counted = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in count.items() if n]
    terminal.say(", ".join(counted) or "nothing was found", style="" if counted else "green")


def _say(text: str, terminal: "Terminal", *, style: str = "") -> None:
    """Below its heading, and within the terminal; what is to be copied stays in one piece."""
    whole = "aws s3api" in text
    width = max(20, terminal.width - 2)
    for line in (
        [text] if whole else textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    ):
        terminal.say(f"  {line}", style=style)
