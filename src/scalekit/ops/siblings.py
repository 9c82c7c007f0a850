"""The processes of one server, so that a scrape of any of them tells the numbers of all.

A server with several processes gives each connection to one of them, and what that one has counted is a part
that looks like the whole. So each process answers for itself at a Unix socket in a directory that they share,
and whichever is scraped asks the others.

Rules:

* Each sample gets the label ``process``. When a process ends its counters end with it; a sum over what is
  left would fall, and whoever computes rates has to see that it was another series.
* By default the directory is one for each parent process and port: workers have both in common. It belongs to
  this user and is for nobody else, or it is not used.
* A process joins with its first request. It answers in a thread, so that a busy one can be asked, too.
* A process that was killed leaves a socket that nobody listens at, which is removed. One that does not answer
  in time has ``scalekit_process_up`` 0, and no other numbers.
"""

import atexit
import contextlib
import errno
import os
import secrets
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from scalekit._forks import renew_in_children
from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric, gauge
from scalekit.ops import _metrics_json as wire
from scalekit.ops.collecting import labelled, merged

_PATIENCE = 2.0  # seconds for all of them together; Prometheus waits for ten
_MOST = 1 << 24  # bytes of one process: thousands of times what any tells
_LONGEST = 104 - len("/1234567.12345678.sock")  # a Unix socket's name has 104 bytes on some systems


class Siblings:
    """This process, and those beside it.

    Args:
        collect: gives the numbers of this process.
        directory: where they meet; by default they find it themselves.

    Raises:
        ConfigurationError: the name of the directory is too long for a socket in it.
    """

    def __init__(
        self, collect: Callable[[], Iterable[Metric]], *, directory: str | os.PathLike[str] | None = None
    ) -> None:
        self._collect = collect
        self._given = None if directory is None else Path(directory).absolute()
        if len(os.fsencode(self._given or "")) > _LONGEST:
            raise ConfigurationError(f"directory= is too long: a socket's name leaves it {_LONGEST} bytes")
        self._socket: socket.socket | None = None
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """Threads do not come along: a child joins for itself."""
        if self._socket is not None:
            self._socket.close()  # or its parent would seem to hang once it has ended
        self._lock = threading.Lock()
        self._socket = None
        self._path = Path()
        self.joined = False

    def join(self, place: object) -> None:
        """Begin to answer the others. Doing it twice is doing it once.

        Args:
            place: where the server listens, such as its port: the same in all of its processes.

        Raises:
            ConfigurationError: the directory cannot be used.
        """
        with self._lock:
            if self.joined:
                return
            if hasattr(socket, "AF_UNIX"):
                self._path, self._socket = _listen(self._given or _own(place))
                threading.Thread(
                    target=self._answer, args=(self._socket,), daemon=True, name="scalekit.ops: metrics"
                ).start()
                atexit.register(_remove, self._path, os.getpid())
            self.joined = True

    def close(self) -> None:
        """Answer no more, for tests: it ends with the process by itself."""
        with self._lock:
            if self._socket is not None:
                _remove(self._path, os.getpid())
                self._socket.close()
            self._socket, self.joined = None, False

    def gather(self) -> list[Metric]:
        """The numbers of all processes. It may block for two seconds: not on an event loop."""
        found = _of_process(self._collect(), str(os.getpid()))
        found = merged(found, _up(str(os.getpid()), True))
        for process, metrics in self._ask():
            try:
                theirs = [*_of_process(metrics or (), process).values(), *_up(process, metrics is not None)]
                found = merged(found, theirs)
            except ValueError:  # it is of another release, and counts otherwise
                found = merged(found, _up(process, False))
        return list(found.values())

    def _ask(self) -> Iterable[tuple[str, list[Metric] | None]]:
        """The others and what they tell, ``None`` if nothing."""
        if self._socket is None:
            return
        # Nor any of this process: an application that a test has made before, say, would count as another.
        own = f"{os.getpid()}."
        others = [path for path in sorted(self._path.parent.glob("*.sock")) if not path.name.startswith(own)]
        until = time.monotonic() + _PATIENCE
        links = [(path.name.partition(".")[0], link) for path in others if (link := _connect(path, until))]
        for process, link in links:  # all of them are at it already
            with link:
                yield process, _read(link, until)

    def _answer(self, listening: socket.socket) -> None:
        while True:
            try:
                link, _ = listening.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    time.sleep(0.1)  # too many files are open; that may pass
                    continue
                return  # it was closed
            with link, contextlib.suppress(OSError):  # who asked has left
                link.settimeout(_PATIENCE)
                link.sendall(wire.dump(self._collect()))


def _up(process: str, up: bool) -> list[Metric]:
    told = gauge("scalekit_process_up", "Whether this process of the server told its numbers.", up)
    return [labelled(told, "process", process)]


def _of_process(metrics: Iterable[Metric], process: str) -> dict[str, Metric]:
    return {metric.name: labelled(metric, "process", process) for metric in metrics}


def _connect(path: Path, until: float) -> socket.socket | None:
    """A socket at which the other answers, or does not; ``None`` if it has ended."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(max(until - time.monotonic(), 0.01))
    try:
        link.connect(str(path))
    except OSError as error:
        if isinstance(error, BlockingIOError | TimeoutError):
            return link  # so many have asked it in vain that it takes no more: to read from it fails
        link.close()
        if error.errno == errno.ECONNREFUSED:
            with contextlib.suppress(OSError):  # another user's, say
                path.unlink()  # names are never used again: its process has ended
        return None
    return link


def _read(link: socket.socket, until: float) -> list[Metric] | None:
    received = bytearray()
    try:
        while True:
            link.settimeout(max(until - time.monotonic(), 0.01))
            chunk = link.recv(1 << 20)
            if not chunk:
                return wire.load(bytes(received))
            received += chunk
            if len(received) > _MOST:
                return None
    except (OSError, ValueError):  # not in time, or not whole: it ended meanwhile
        return None


def _listen(directory: Path) -> tuple[Path, socket.socket]:
    name = f"{os.getpid()}.{secrets.token_hex(4)}"
    while True:
        listening = socket.socket(socket.AF_UNIX)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            listening.bind(str(directory / f"{name}.new"))
            listening.listen(64)
            # Now it has the name that others look for: before, it would have refused them.
            os.rename(directory / f"{name}.new", directory / f"{name}.sock")
        except FileNotFoundError:
            listening.close()  # the last one there has just taken the directory with it
        except OSError as error:
            listening.close()
            raise _unusable(directory, error) from error
        else:
            return directory / f"{name}.sock", listening


def _own(place: object) -> Path:
    """The directory of the processes with this parent that listen at ``place``."""
    base = Path(tempfile.gettempdir()) / f"scalekit-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        about = base.lstat()
    except OSError as error:
        raise _unusable(base, error) from error
    # Anybody can make it before us, and tell us what they like.
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise _unusable(base, PermissionError(errno.EPERM, "it is not this user's alone"))
    return base / f"{os.getppid()}-{place}"


def _unusable(directory: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the processes of this server cannot meet in {str(directory)!r} ({error.strerror}), so that a "
        "scrape would tell the numbers of one alone; give directory= a folder that this user can write to"
    )


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # a fork inherits what is to be done at the end
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()  # the last one leaves nothing behind
