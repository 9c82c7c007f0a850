"""The visitors: they browse, log in, fill a cart, upload, check out, come back, and write a `history`."""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec

from examples.bigevent.client import Answer, Browser
from examples.bigevent.history import Event, What
from examples.bigevent.settings import PRODUCTS

_ASSET = re.compile(rb'(?:href|src)="([^"]*/static/[^"]+)"')
_RELEASE = re.compile(rb'data-release="(\d+)"')
_SAID = re.compile(rb"release (\d+)")
_USER = re.compile(rb'data-user="([^"]*)"')

_PNG = b"\x89PNG\r\n\x1a\n"
_CUT = 3_000  # bytes: less than the smallest photo has
_NOISE = random.Random(7).randbytes(1 << 20)


class Visitor:
    """One user with one browser.

    Args:
        user: a name of letters and digits; all that the user writes begins with it and a dash.
        browser: its cookies are the user's.
        events: the history, shared by all.
        leave: when the user goes home, in seconds of ``time.monotonic``.
        think: seconds between two clicks, on average.
    """

    def __init__(
        self, user: str, browser: Browser, events: list[Event], *, leave: float, think: float = 0.3
    ) -> None:
        self.user, self._browser, self._events = user, browser, events
        self.leave, self._think = leave, think
        self._logged_in = self._known = self._final = False
        self._tokens: Iterator[str] = (f"{user}-{number}" for number in range(1_000_000))
        self._versions: dict[str, int] = {}
        self._photos: list[str] = []

    async def stay(self) -> None:
        """Visit the shop again and again until it is time to go."""
        while time.monotonic() < self.leave:
            for step in self._visit():
                await step
                if time.monotonic() > self.leave:
                    return
                await asyncio.sleep(random.expovariate(1 / self._think))

    def _visit(self) -> Iterator[Any]:
        """The clicks of one visit, in order."""
        yield self._front_page()
        if not self._logged_in:
            yield self._log_in()
            if not self._logged_in:
                return  # nothing of what follows is for strangers
        if random.random() < 0.5:
            yield self._write("account/profile", "/profile/{}")
            yield self._account()
        if random.random() < 0.3:
            yield self._two_tabs(*random.sample(PRODUCTS, 2))
            yield self._cart()
        for product in random.sample(PRODUCTS, random.randint(1, 3)):
            yield self._product(product)
            if random.random() < 0.6:
                yield self._write(f"review/{product}", f"/products/{product}/review/{{}}")
                yield self._product(product)
            yield self._put(product)
            yield self._cart()
        if random.random() < 0.4:
            yield self._upload()
        if self._photos:
            key = random.choice(self._photos[-20:])
            yield self._download(key) if random.random() < 0.5 else self._resume(key)
        if random.random() < 0.8:
            yield self._check_out()
            yield self._account()

    async def look_again(self, until: float) -> None:
        """At the end, when nothing is broken any more: is everything there?

        Args:
            until: when to give up trying again, in seconds of ``time.monotonic``.
        """
        if not self._known:
            return  # they left before they had logged in, and have nothing here
        self._browser.until, self._final = until, True
        if not self._logged_in:
            await self._log_in()
        await self._cart()
        await self._account()
        for key in self._photos:
            await self._download(key)

    async def _front_page(self) -> None:
        answer = await self._browser.ask("GET", "/", fits=_is_page)
        if answer.outcome != "done":
            return
        seen, release = _USER.search(answer.body), _RELEASE.search(answer.body)
        assert seen is not None
        assert release is not None
        user = seen[1].decode()
        if self._logged_in and not user:
            self._note("page", answer, outcome="anonymous")
            self._logged_in = False
        else:
            self._note("page", answer, seen=(user,) if user else ())
        # Browsers keep them; one that is looked at each time shows as much.
        address = random.choice(_ASSET.findall(answer.body)).decode()
        asset = await self._browser.ask("GET", address, label="asset: ")
        said = _SAID.search(asset.body)
        right = said is not None and said[1] == release[1]
        self._note("asset", asset, key=address, value=right, page=answer.began)

    async def _log_in(self) -> None:
        answer = await self._ask("POST", f"/login/{self.user}")
        self._logged_in = answer.outcome == "done"
        self._known |= self._logged_in
        self._note("login", answer, seen=_users(answer))

    async def _two_tabs(self, *products: str) -> None:
        """One thing from each, at the same moment: nginx sends them to two servers."""
        await asyncio.gather(*(self._put(product) for product in products))

    async def _put(self, product: str) -> None:
        token = next(self._tokens)
        answer = await self._ask("PUT", f"/cart/{token}/{product}")
        self._note("put", answer, key=token, seen=_users(answer))

    async def _cart(self) -> None:
        answer = await self._ask("GET", "/cart")
        items = tuple(answer.json().get("items", ()))
        self._note("cart", answer, value=items, seen=_users(answer, *items))

    async def _check_out(self) -> None:
        once = next(self._tokens)
        answer = await self._ask("POST", f"/checkout/{once}")
        items = tuple(answer.json().get("items", ()))
        self._note("checkout", answer, key=once, value=items, seen=_users(answer, *items))

    async def _write(self, name: str, target: str) -> None:
        version = self._versions[name] = self._versions.get(name, 0) + 1
        answer = await self._ask("PUT", target.format(version))
        self._note("write", answer, key=name, value=version, seen=_users(answer))

    async def _account(self) -> None:
        answer = await self._ask("GET", "/account")
        found = answer.json()
        versions = {f"account/order/{once}": 1 for once in found.get("orders", ())}
        versions["account/profile"] = found.get("profile", 0)
        seen = _users(answer, *found.get("orders", ()))
        self._note("read", answer, key="account/", value=versions, seen=seen)

    async def _product(self, product: str) -> None:
        answer = await self._ask("GET", f"/products/{product}")
        version = answer.json().get("reviews", {}).get(self.user, 0)  # of the others' all may see
        name = f"review/{product}"
        self._note("read", answer, key=name, value={name: version}, seen=_users(answer))

    async def _upload(self) -> None:
        size, start = random.randint(5_000, 150_000), random.randrange(800_000)
        content = _PNG + _NOISE[start : start + size] + random.randbytes(16)

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData()
            made.add_field("photo", content, filename="photo.png", content_type="image/png")
            return made

        answer = await self._ask("POST", f"/photos/{next(self._tokens)}", body=form)
        key = answer.json().get("key", "")
        if answer.outcome == "done":
            self._photos.append(key)
        checksum = hashlib.sha256(content).hexdigest()
        self._note("upload", answer, key=key, value=checksum, seen=_users(answer))

    async def _download(self, key: str) -> None:
        answer = await self._browser.ask("GET", f"/media/{key}")
        self._note("download", answer, key=key, value=hashlib.sha256(answer.body).hexdigest())

    async def _ask(self, method: str, target: str, **more: Any) -> Answer:
        """What is answered in JSON, and says whose it is."""
        return await self._browser.ask(method, target, fits=_is_own, **more)

    async def _resume(self, key: str) -> None:
        """A download that was cut off goes on where it was."""
        first = await self._browser.ask("GET", f"/media/{key}", headers={"range": f"bytes=0-{_CUT - 1}"})
        rest = await self._browser.ask("GET", f"/media/{key}", headers={"range": f"bytes={_CUT}-"})
        outcome = rest.outcome if first.outcome == "done" else first.outcome
        checksum = hashlib.sha256(first.body + rest.body).hexdigest()
        self._note("download", rest, key=key, value=checksum, outcome=outcome)

    def _note(self, what: What, answer: Answer, **more: Any) -> None:
        event = {"outcome": answer.outcome, "doubt": answer.doubt, "final": self._final} | more
        if event["outcome"] == "anonymous":
            self._logged_in = False
        self._events.append(Event(user=self.user, what=what, began=answer.began, ended=answer.ended, **event))


def _is_page(body: bytes) -> bool:
    return all(pattern.search(body) for pattern in (_USER, _RELEASE, _ASSET))


def _is_own(body: bytes) -> bool:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return isinstance(found, dict) and isinstance(found.get("user"), str)


def _users(answer: Answer, *tokens: str) -> tuple[str, ...]:
    """Whose data are in an answer."""
    if answer.outcome != "done":
        return ()
    return tuple({answer.json()["user"], *(token.rpartition("-")[0] for token in tokens)})
