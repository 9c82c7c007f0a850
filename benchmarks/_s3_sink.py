"""A bare sink that speaks just enough S3: reads bodies as fast as a thread a connection can, keeps nothing.

A real S3 server would be the bottleneck and measure itself. ``with sink() as port`` runs it as a child
process; it can be slowed to the speed of a link, and can answer each part late.
"""

import argparse
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

OPTIONS = {"region_name": "us-east-1", "aws_access_key_id": "key", "aws_secret_access_key": "secret"}
"""Of its clients."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"expect: *100-continue", re.IGNORECASE)
_CREATED = b"<R><UploadId>upload</UploadId></R>"
_COMPLETED = b'<R><ETag>"etag-1"</ETag></R>'

_READ = 1024 * 1024
_SLOW_READ = 64 * 1024
_OVERSLEPT = 0.05  # seconds that a thread may wake too late without the line being slower for it


@contextmanager
def sink(*, bytes_per_second: float = 0, part_seconds: float = 0) -> Iterator[int]:
    """Run one and give its port.

    Args:
        bytes_per_second: over all connections; 0 is as fast as possible.
        part_seconds: the answer to each part comes so much later.
    """
    module = [sys.executable, "-m", "benchmarks._s3_sink"]
    options = [f"--bytes-per-second={bytes_per_second}", f"--part-seconds={part_seconds}"]
    process = subprocess.Popen([*module, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.communicate("")


class _Link:
    """The line that all connections share."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def carry(self, size: int) -> None:
        """Take as long as ``size`` bytes take."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _OVERSLEPT) + size / self._rate
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)


def _serve(connection: socket.socket, link: _Link, read: int, part_seconds: float) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    view = memoryview(bytearray(read))
    pending = b""
    with connection:
        while True:
            while (end := pending.find(b"\r\n\r\n")) < 0:
                got = connection.recv(65536)
                if not got:
                    return
                pending += got
            head, pending = pending[: end + 4], pending[end + 4 :]
            if _EXPECT.search(head):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = _LENGTH.search(head)
            remaining = int(length[1]) if length else 0
            taken = min(remaining, len(pending))
            pending, remaining = pending[taken:], remaining - taken
            link.carry(taken)
            while remaining:
                received = connection.recv_into(view, min(remaining, read))
                if not received:
                    return
                link.carry(received)
                remaining -= received
            request, body = head.split(b"\r\n", 1)[0], b""
            if b"partNumber=" in request:
                time.sleep(part_seconds)
            if request.startswith(b"POST"):
                body = _CREATED if b"?uploads" in request else _COMPLETED
            answer = b'HTTP/1.1 200 OK\r\netag: "etag"\r\ncontent-length: %d\r\n\r\n' % len(body)
            connection.sendall(answer + body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes-per-second", type=float, default=0)
    parser.add_argument("--part-seconds", type=float, default=0)
    arguments = parser.parse_args()
    link, read = _Link(arguments.bytes_per_second), _SLOW_READ if arguments.bytes_per_second else _READ
    listener = socket.socket()
    if arguments.bytes_per_second:
        # What waits in the kernel has not crossed the line yet, and must not seem to have.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _SLOW_READ)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=sys.stdin.read).start()

    def accept() -> None:
        while True:
            one = listener.accept()[0], link, read, arguments.part_seconds
            threading.Thread(target=_serve, args=one, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


if __name__ == "__main__":
    main()
