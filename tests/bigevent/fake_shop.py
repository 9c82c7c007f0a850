"""A shop in one process that keeps everything, unless it is told to get one thing wrong."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from examples.bigevent.history import Final

_PAGE = """<html data-release="{release}"><link rel="stylesheet" href="/static/site.css">
<body data-user="{user}"></body></html>"""

BUGS = (
    "write",
    "stale",
    "cart",
    "came back",
    "upload",
    "another upload",
    "range",
    "photo record",
    "two tabs",
    "asset",
    "release",
    "login",
    "user",
)


class FakeShop:
    """Args:
    bug: one of `BUGS`, or nothing.
    """

    def __init__(self, bug: str = "") -> None:
        self.bug = bug
        self.users: dict[str, str] = {}  # by cookie
        self.carts: dict[str, dict[str, str]] = {}
        self.orders: dict[str, tuple[str, frozenset[str]]] = {}
        self.versions: dict[tuple[str, str], int] = {}
        self.photos: dict[str, bytes] = {}
        self.owners: dict[str, str] = {}  # of photos
        self._numbers = itertools.count()

    @property
    def final(self) -> Final:
        """What is there at the end."""
        return Final(versions=self.versions, orders=self.orders, photos=self.owners)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        cookie = request.cookies.get("session", "")
        user = self.users.get(cookie, "")
        match request.method, request.path.split("/")[1:]:
            case "GET", [""]:
                release = 2 if self.bug == "release" else 1
                return web.Response(text=_PAGE.format(user=user, release=release), content_type="text/html")
            case "GET", ["static", _]:
                return web.Response(status=404 if self.bug == "asset" else 200, text="/* release 1 */")
            case "GET", ["media", key]:
                if self.bug == "upload":
                    return web.Response(status=404)
                photo = self.photos[key] + (b"!" if self.bug == "another upload" else b"")
                if (wanted := request.http_range) == slice(None, None, 1):
                    return web.Response(body=photo)
                first = (wanted.start or 0) + (self.bug == "range")
                return web.Response(status=206, body=photo[first : wanted.stop])
            case "POST", ["login", _] if self.bug == "no login":
                return web.Response(status=503)
            case "POST", ["login", name]:
                cookie = str(next(self._numbers))
                self.users[cookie], self.carts[cookie] = name, {}
                answer = web.json_response({"user": name})
                answer.set_cookie("session", cookie)
                return answer
        if not user or (self.bug == "login" and next(self._numbers) % 7 == 6):
            return web.Response(status=401)
        answered = await self._of_user(request, user, self.carts[cookie])
        return web.json_response({"user": "mallory" if self.bug == "user" else user, **answered})

    async def _of_user(self, request: web.Request, user: str, cart: dict[str, str]) -> dict[str, Any]:
        match request.method, request.path.split("/")[1:]:
            case "PUT", ["cart", token, product]:
                if self.bug == "two tabs":  # each writes what it has read, and its own
                    before = dict(cart)
                    await asyncio.sleep(0.01)
                    cart.clear()
                    cart |= before
                if self.bug != "cart":
                    cart[token] = product
            case "GET", ["cart"]:
                return {"items": cart}
            case "POST", ["checkout", once]:
                items = dict(cart)
                self.orders[once] = (user, frozenset(items))
                if self.bug != "came back":
                    cart.clear()
                return {"items": items}
            case "PUT", ["profile", version]:
                self._write(user, "account/profile", int(version))
            case "PUT", ["products", product, "review", version]:
                self._write(user, f"review/{product}", int(version))
            case "GET", ["products", product]:
                version = self.versions.get((user, f"review/{product}"), 0)
                return {"reviews": {user: version - (self.bug == "stale")}}
            case "GET", ["account"]:
                orders = [once for once, (who, _) in self.orders.items() if who == user]
                return {"profile": self.versions.get((user, "account/profile"), 0), "orders": orders}
            case "POST", ["photos", _]:
                form = await request.post()
                key = str(next(self._numbers))
                self.photos[key] = await asyncio.to_thread(form["photo"].file.read)  # type: ignore[union-attr]
                if self.bug != "photo record":
                    self.owners[key] = user
                return {"key": key}
        return {}

    def _write(self, user: str, name: str, version: int) -> None:
        self.versions[user, name] = version
        if self.bug == "write" and version > 1:
            del self.versions[user, name]
