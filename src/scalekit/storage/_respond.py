"""What the ASGI applications of this piece share: where they are mounted, and short answers."""

from http import HTTPStatus

from scalekit.errors import UploadRejected
from scalekit.types import Headers, Scope, Send


class Refused(UploadRejected):
    """A request that is answered with ``status``; the message is the answer's text."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def path_below(scope: Scope) -> str:
    """The path below the mount point, without the slash at its beginning."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    # Some frameworks leave the mount point on the path and some take it off; the scope says where it ends.
    if root and (path + "/").startswith(root + "/"):
        path = path[len(root) :]
    return path.removeprefix("/")


async def respond(
    send: Send,
    status: int,
    headers: Headers | None = None,
    *,
    text: str = "",
    length: int | None = None,
) -> None:
    """A whole response. ``length`` is that of the body a HEAD request would have had."""
    body = text.encode()
    extra: Headers = [(b"content-type", b"text/plain; charset=utf-8")] if text else []
    if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        extra.append((b"content-length", b"%d" % (len(body) if length is None else length)))
    await send({"type": "http.response.start", "status": int(status), "headers": [*(headers or ()), *extra]})
    await send({"type": "http.response.body", "body": body})
