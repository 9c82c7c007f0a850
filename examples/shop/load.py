"""A crowd of visitors who check what they are shown: ``python -m examples.shop.load URL VISITORS SECONDS``.

Each visitor logs in, looks around, fills a basket, orders, looks for the order, and begins again; after
every page they ask themselves: am I still logged in, is my basket as I left it, is my order there? Twice
a second a line of JSON says how it went. On loopback only, and never for more than a minute.
"""

import asyncio
import itertools
import json
import random
import re
import secrets
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

from examples.shop.app.catalogue import CROWD, ITEMS
from examples.shop.http1 import LOST, Pool
from examples.shop.traffic import percentile

BUCKETS = [1, 2, 4, 7, 10, 15, 20, 30, 45, 70, 100, 150, 220, 330, 500, 750, 1100, 1700, 2500, 5000, 10_000]
"""Upper ends, in milliseconds."""

_BADGE = re.compile(rb"aria-label=\"Basket, (\d+) item")
_COOKIE = re.compile(r"([^=;]+)=([^;]*)")


class Report:
    """What all visitors saw, in total and since the last line."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.requests = self.failed = self.orders = self.slowest = 0
        self.failures: Counter[str] = Counter()
        self.violations = Counter({"logged out": 0, "basket changed": 0, "order missing": 0})
        self.histogram = [0] * len(BUCKETS)
        self._interval_failed = 0
        self._began = time.monotonic()

    def answered(self, seconds: float, status: int) -> None:
        milliseconds = seconds * 1000
        self.requests += 1
        self.times.append(milliseconds)
        self.histogram[
            next((i for i, end in enumerate(BUCKETS) if milliseconds <= end), len(BUCKETS) - 1)
        ] += 1
        if status >= 400:
            self.lost(str(status))

    def lost(self, cause: str) -> None:
        self.failed += 1
        self._interval_failed += 1
        self.failures[cause] += 1

    def line(self) -> str:
        times = sorted(self.times)
        interval = {
            "at": round(time.monotonic() - self._began, 2),
            "requests": len(times),
            "failed": self._interval_failed,
            "p50": percentile(times, 0.5),
            "p95": percentile(times, 0.95),
            "p99": percentile(times, 0.99),
        }
        self.times, self._interval_failed = [], 0
        total = {
            "requests": self.requests,
            "failed": self.failed,
            "failures": dict(self.failures),
            "orders": self.orders,
            "violations": dict(self.violations),
            "histogram": [[end, count] for end, count in zip(BUCKETS, self.histogram, strict=True)],
        }
        return json.dumps({"interval": interval, "total": total})


class Visitor:
    def __init__(self, pool: Pool, report: Report, user: str) -> None:
        self._pool, self._report = pool, report
        self._cookies: dict[str, str] = {}
        self._user = user
        self._basket = 0
        self._logged_in = False

    async def visit(self) -> None:
        """One round through the shop."""
        if not self._logged_in:
            await self._form("/login", f"user={self._user}&next=%2F")
            self._logged_in = True
        await self._page("/")
        for item in random.sample(ITEMS, random.randint(1, 3)):
            await self._page(f"/plants/{item.slug}")
            quantity = random.randint(1, 2)
            if await self._form(f"/cart/{item.slug}", f"quantity={quantity}") is not None:
                self._basket += quantity
            await self._page(random.choice(["/", "/cart", "/?category=leafy", f"/plants/{item.slug}"]))
        address = "name=A+visitor&street=12+Sunny+Side&postcode=1012&town=Ledgeford"
        where = await self._form("/checkout", address)
        if where is not None and where.startswith("/orders/"):
            self._basket = 0
            self._report.orders += 1
            number = where.rpartition("/")[2].encode()
            for path in (where, "/orders"):
                page = await self._page(path)
                if page is not None and b'data-order="' + number + b'"' not in page:
                    self._report.violations["order missing"] += 1

    async def _page(self, path: str) -> bytes | None:
        """Look at a page, and check what every page shows."""
        status, body, _ = await self._ask("GET", path, b"")
        if status == 404 and path.startswith("/orders/"):
            self._report.violations["order missing"] += 1
        if status != 200:
            return None
        if b"/logout" not in body:
            self._report.violations["logged out"] += 1
            self._logged_in = False
        badge = _BADGE.search(body)
        if badge is None or int(badge[1]) != self._basket:
            self._report.violations["basket changed"] += 1
            self._basket = int(badge[1]) if badge else 0
        await asyncio.sleep(random.uniform(0.02, 0.12))
        return body

    async def _form(self, path: str, body: str) -> str | None:
        """Send a form; where it leads, or ``None`` if it failed."""
        status, _, location = await self._ask(
            "POST", f"{path}?once={secrets.token_urlsafe(9)}", body.encode()
        )
        return location if status == 303 else None

    async def _ask(self, method: str, target: str, body: bytes) -> tuple[int, bytes, str]:
        try:
            async with asyncio.timeout(30):
                return await self._exchange(method, target, body)
        except LOST as error:
            self._report.lost(type(error).__name__)
            await asyncio.sleep(0.25)
            return 0, b"", ""

    async def _exchange(self, method: str, target: str, body: bytes) -> tuple[int, bytes, str]:
        began = time.monotonic()
        connection = await self._pool.get(timeout=5)
        try:
            headers = [
                (b"host", f"{self._pool.host}:{self._pool.port}".encode()),
                (b"cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items()).encode()),
            ]
            if method == "POST":
                headers.append((b"content-type", b"application/x-www-form-urlencoded"))
                headers.append((b"content-length", str(len(body)).encode()))
            await connection.send_head(method.encode(), target.encode(), headers)
            await connection.send_body(body)
            await connection.end_body()
            head = await connection.head()
            page = b"".join([chunk async for chunk in connection.body()])
        finally:
            self._pool.put(connection)
        self._report.answered(time.monotonic() - began, head.status_code)
        location = ""
        for name, value in head.headers:
            if name == b"set-cookie" and (match := _COOKIE.match(value.decode("latin-1"))):
                self._cookies[match[1]] = match[2]
            elif name == b"location":
                location = value.decode("latin-1")
        return head.status_code, page, location


async def crowd(url: str, *, visitors: int, seconds: float) -> Report:
    """Let them in, one after the other within a second, and out when the time is over."""
    address = urlsplit(url)
    if address.hostname not in ("127.0.0.1", "localhost"):
        raise SystemExit("load goes to this machine only")
    report, pool = Report(), Pool(address.hostname, address.port or 80)
    until = time.monotonic() + min(seconds, 60)

    async def stay(user: str) -> None:
        await asyncio.sleep(random.random())
        visitor = Visitor(pool, report, user)
        while time.monotonic() < until:
            await visitor.visit()

    async def tell() -> None:
        while True:
            await asyncio.sleep(0.5)
            print(report.line(), flush=True)

    telling = asyncio.create_task(tell())
    async with asyncio.TaskGroup() as group:
        for _, user in zip(range(visitors), itertools.cycle(CROWD), strict=False):
            group.create_task(stay(user))
    telling.cancel()
    print(report.line(), flush=True)
    pool.close()
    return report


if __name__ == "__main__":
    asyncio.run(crowd(sys.argv[1], visitors=int(sys.argv[2]), seconds=float(sys.argv[3])))
