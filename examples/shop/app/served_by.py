"""Say which server answered, for the curious and for the tests."""

from scalekit.types import ASGIApp, Message, Receive, Scope, Send


class ServedBy:
    """Adds ``X-Served-By`` to every response."""

    def __init__(self, app: ASGIApp, *, server: str) -> None:
        self.app = app
        self._header = (b"x-served-by", server.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), self._header]}
            await send(message)

        return await self.app(scope, receive, signed)
