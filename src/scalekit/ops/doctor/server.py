"""Time-outs that have to fit each other: the server's, the drain's, the balancer's, the platform's. Pure.

Rules:

* A server keeps idle connections longer than the balancer does. Else the balancer sends a request on one that
  is just being closed, and the visitor gets a 502.
* A drain gives requests as long as the slowest one takes, and is over before anybody kills the server.
"""

import ast
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from scalekit.errors import ConfigurationError
from scalekit.ops.doctor.findings import Finding, finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """How the application is served.

    Args:
        name: of the program.
        keep_alive: seconds for which it keeps idle connections; ``None`` if not known.
        option: sets that.
        stop: seconds that it gives requests when told to stop; ``None`` for any time.
        stop_option: sets that; ``None`` where a drain comes before it.
        workers: processes.
        delays: whether its signal can be delayed until a drain is over.
    """

    name: str
    keep_alive: float | None
    option: str
    stop: float | None
    stop_option: str | None
    workers: int
    delays: bool


class _Program:
    """What the options of a server are called, and what they are by default."""

    def __init__(
        self,
        keep_alive: tuple[str, ...],
        default: float | None,
        *,
        stop: tuple[str, ...] = (),
        stop_default: float | None = None,
        workers: tuple[str, ...] = ("--workers", "-w"),
    ) -> None:
        self.keep_alive, self.default = keep_alive, default
        self.stop, self.stop_default, self.workers = stop, stop_default, workers


# What only limits what follows the drain, which our signal handler puts before it, is left out.
_PROGRAMS = {
    "uvicorn": _Program(("--timeout-keep-alive",), 5.0, workers=("--workers",)),
    "gunicorn": _Program(("--keep-alive",), 2.0, stop=("--graceful-timeout",), stop_default=30.0),
    "hypercorn": _Program(("--keep-alive",), 5.0),
    "granian": _Program((), None, stop=("--workers-kill-timeout",), workers=("--workers",)),
}
_THREADS = (None, "sync", "gthread")  # gunicorn's workers of WSGI: those that a preloaded drain cannot reach
_IN_A_FILE = {"--keep-alive": "keepalive", "--graceful-timeout": "graceful_timeout", "--workers": "workers"}


_CURES = {
    "hypercorn": "hypercorn -w 0",
    "granian": "gunicorn",
    "gunicorn": "drain.install() in post_worker_init() of gunicorn.conf.py, or no --preload",
}
"""Of a signal that is not delayed."""


def read(command: str, *, folder: Path | None = None) -> Server:
    """The server that a command line starts.

    Args:
        command: such as ``"gunicorn shop:app -k uvicorn.workers.UvicornWorker --keep-alive 75"``.
        folder: where it is started, for gunicorn's configuration; the current one by default.

    Raises:
        ConfigurationError: it starts none that is known, or a value is no number.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"--command cannot be read: {error}") from None
    words = [part for word in words for part in _parts(word)]
    name = next((Path(word).name for word in words if Path(word).name in _PROGRAMS), None)
    if name is None:
        raise ConfigurationError(f"--command starts none of {', '.join(_PROGRAMS)}")
    program = _PROGRAMS[name]
    said = _gunicorn_file(words, folder or Path.cwd()) if name == "gunicorn" else {}
    keep_alive = _number(words, program.keep_alive, said, program.default)
    worker = _value(words, ("-k", "--worker-class")) or said.get("worker_class")
    if name == "gunicorn" and worker in (None, "sync"):
        # Its plain workers keep none with one thread.
        keep_alive = keep_alive if _number(words, ("--threads",), said, 1.0) != 1 else None
    workers = _number(words, program.workers, said, 1.0)
    apart = name == "hypercorn" and workers != 0
    wsgi = name == "granian" and _value(words, ("--interface",)) == "wsgi"
    # Loaded in the master, it is installed in each worker by this hook alone.
    early = "--preload" in words or bool(said.get("preload_app"))
    early = name == "gunicorn" and early and worker in _THREADS and "post_worker_init" not in said
    return Server(
        name=name,
        keep_alive=keep_alive,
        option=program.keep_alive[0] if program.keep_alive else "",
        stop=_number(words, program.stop, said, program.stop_default),
        stop_option=program.stop[0] if program.stop else None,
        workers=int(workers or 1),
        delays=not (apart or wsgi or early),
    )


def _parts(word: str) -> list[str]:
    name, equals, value = word.partition("=")
    return [name, value] if equals and word.startswith("--") else [word]


def _value(words: Sequence[str], options: Sequence[str]) -> str | None:
    """What stands behind the last of ``options``."""
    found = [after for word, after in pairwise(words) if word in options]
    return found[-1] if found else None


def _number(
    words: Sequence[str], options: Sequence[str], said: dict[str, float | str], default: float | None
) -> float | None:
    text = _value(words, options)
    if text is None:
        in_file = [said.get(_IN_A_FILE.get(option, option.lstrip("-"))) for option in options]
        return next((value for value in in_file if isinstance(value, float)), default)
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"--command has {options[0]} {text!r:.40}, which is no number") from None


def _gunicorn_file(words: Sequence[str], folder: Path) -> dict[str, float | str]:
    """The plain numbers and texts of gunicorn's configuration, and its functions, as 1. It is read, and not
    run."""
    path = folder / (_value(words, ("-c", "--config")) or "gunicorn.conf.py").removeprefix("file:")
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[str, float | str] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = 1.0
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            value = node.value.value
            if isinstance(value, int | float):
                value = float(value)
            if isinstance(value, float | str):
                found |= {name.id: value for name in node.targets if isinstance(name, ast.Name)}
    return found


def judge_keep_alive(server: Server, *, idle_timeout: float, where: str) -> Iterator[Finding]:
    """Whether the balancer, which keeps idle connections for ``idle_timeout`` seconds, closes first."""
    if server.keep_alive is not None and 0 < server.keep_alive <= idle_timeout:
        yield finding(
            "keep-alive",
            what=f"{server.name} closes idle connections after {server.keep_alive:g} s, and the balancer "
            f"uses them for {idle_timeout:g} s: a request on one that is just closed is answered 502",
            cure=f"{server.name} {server.option} {idle_timeout + 5:g}, or a shorter time-out of the balancer",
            where=where,
        )


def judge_drain(
    delay: float,
    grace: float,
    *,
    slowest: float | None,
    killed_after: float | None,
    server: Server | None,
    where: str,
) -> Iterator[Finding]:
    """Whether a drain has the time that it needs.

    Args:
        delay: of the drain; ``grace`` likewise.
        slowest: seconds that the slowest request takes; ``None``: nobody has said.
        killed_after: seconds that the platform waits before it kills; ``None``: nobody has said.
        server: what the application runs under; ``None``: nobody has said.
    """
    enough = grace
    if slowest is not None and grace < slowest:
        enough = slowest + 1
        yield finding(
            "drain-grace",
            what=f"the drain gives requests {grace:g} s, and the slowest takes {slowest:g}: it is cut off",
            cure=f"Drain(delay={delay:g}, grace={enough:g})",
            where=where,
        )
    if server is not None and not server.delays:
        yield finding(
            "drain-signal",
            what=f"{server.name}, started so, does not let its signal be delayed: it stops at once",
            cure="Drain(file=...), and scalekit drain before the signal, from a pre-stop hook; or "
            + _CURES[server.name],
            where=where,
        )
    needed = delay + enough
    limits = [] if killed_after is None else [("the platform kills", killed_after, "its grace period")]
    if server is not None and server.stop is not None and server.stop_option is not None:
        limits.append((f"{server.name} kills", server.stop, server.stop_option))
    for who, limit, option in limits:
        if limit <= needed:
            yield finding(
                "drain-killed",
                what=f"{who} after {limit:g} s, and a drain needs up to {needed:g} (delay {delay:g}, grace "
                f"{enough:g}): requests in flight are lost",
                cure=f"{option} above {needed:g} s, or a shorter drain",
                where=where,
            )


def missing(*, where: str) -> Finding:
    """Nothing drains."""
    return finding(
        "drain-missing",
        what="nothing tells the balancer that a server stops: requests are lost at each deployment",
        cure="OpsMiddleware of scalekit.ops.asgi, or of scalekit.ops.wsgi, around the application",
        where=where,
    )
