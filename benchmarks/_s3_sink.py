"""A bare sink that speaks just enough S3: reads bodies as fast as a thread a connection can, keeps nothing.

A real S3 server would be the bottleneck and measure itself. Run as a child process:
``python -m benchmarks._s3_sink`` prints its port and serves until standard input ends.
"""

import re
import socket
import sys
import threading

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"expect: *100-continue", re.IGNORECASE)
_CREATED = b"<R><UploadId>upload</UploadId></R>"
_COMPLETED = b'<R><ETag>"etag-1"</ETag></R>'


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1024 * 1024)
    view = memoryview(buffer)
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
            while remaining:
                got = connection.recv_into(view, min(remaining, len(buffer)))
                if not got:
                    return
                remaining -= got
            body = b""
            if head.startswith(b"POST"):
                body = _CREATED if b"?uploads" in head.split(b"\r\n", 1)[0] else _COMPLETED
            answer = b'HTTP/1.1 200 OK\r\netag: "etag"\r\ncontent-length: %d\r\n\r\n' % len(body)
            connection.sendall(answer + body)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=sys.stdin.read).start()

    def accept() -> None:
        while True:
            threading.Thread(target=_serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


if __name__ == "__main__":
    main()
