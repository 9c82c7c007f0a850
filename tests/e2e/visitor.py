"""A visitor in a browser, who notices what goes wrong."""

import struct
import time
import zlib
from typing import Any

from playwright.sync_api import Browser, Page, Response

from tests.servers import wait_until


class Visitor:
    """Walks through the shop; every page must load, know the visitor, and show the basket as it was left."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        # Animations would cost the servers the processor: there is no graphics card here.
        self.context = browser.new_context(reduced_motion="reduce", **options)
        self.page: Page = self.context.new_page()
        self.url = url
        self.failures: list[str] = []
        self.loads = 0
        self.basket = 0
        self.user = ""
        self.orders: list[str] = []
        self.page.on("response", self._look)
        self.page.on("requestfailed", self._lost)
        self.page.on("pageerror", lambda error: self.failures.append(f"script: {error}"))
        self.page.on(
            "console", lambda entry: self.failures.append(entry.text) if entry.type == "error" else None
        )

    def _look(self, response: Response) -> None:
        if response.status >= 400:
            self.failures.append(f"{response.status} {response.request.method} {response.url}")

    def _lost(self, request: Any) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # what a navigation left behind
            self.failures.append(f"{request.failure} {request.url}")

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)
        self.check()

    def check(self) -> None:
        """The page is the shop's, for this visitor, with this basket."""
        self.loads += 1
        assert not self.failures, self.failures
        if self.user:
            assert self.page.locator(".who-name").inner_text() == self.user, "logged out"
        label = self.page.locator("a.basket").get_attribute("aria-label") or ""
        assert label.split()[1] == str(self.basket), f"{label}, should be {self.basket}"

    def log_in(self, user: str) -> None:
        self.go("/login")
        self.page.get_by_role("button", name=user).click()
        self.page.wait_for_url(self.url + "/")
        self.user = user
        self.check()

    def add(self, slug: str, quantity: int = 1) -> None:
        self.go(f"/plants/{slug}")
        self.page.get_by_label("Quantity").fill(str(quantity))
        self.page.get_by_role("button", name="Add to basket").click()
        self.page.get_by_role("status").get_by_text("in your basket").wait_for()
        self.basket += quantity
        self.check()

    def order(self) -> str:
        """Check out, and find the order at once, by itself and in the list."""
        self.go("/checkout")
        self.page.get_by_role("button", name="Place the order").click()
        self.page.wait_for_url(self.url + "/orders/*")
        self.basket = 0
        self.check()
        number = self.page.locator("[data-order]").inner_text()
        self.orders.append(number)
        self.go("/orders")
        assert self.page.locator(f'a[data-order="{number}"]').count() == 1, f"order {number} is missing"
        return number

    def share_photo(self, slug: str, caption: str, picture: bytes) -> None:
        self.go(f"/plants/{slug}")
        self.page.set_input_files("#photo", {"name": "sill.png", "mimeType": "image/png", "buffer": picture})
        self.page.get_by_label("Caption").fill(caption)
        self.page.get_by_role("button", name="Share it").click()
        self.page.locator("figure", has_text=caption).wait_for()
        self.check()
        self.sees_photo(caption)

    def sees_photo(self, caption: str) -> None:
        """The picture itself has arrived, not only its place on the page."""
        image = self.page.locator("figure", has_text=caption).locator("img")
        image.scroll_into_view_if_needed()
        wait_until(
            lambda: image.evaluate("image => image.complete && image.naturalWidth > 0"), what="the photo"
        )

    @property
    def server(self) -> str:
        """Which server made the page."""
        return self.page.locator(".served").get_attribute("data-server") or ""

    def settle(self) -> None:
        """Nobody presses buttons faster than a person looks."""
        self.page.evaluate("() => new Promise(requestAnimationFrame)")

    def close(self) -> None:
        self.context.close()


def png(width: int, height: int, *, noise: bool = False) -> bytes:
    """A picture: a green gradient, or (of size width x height x 3 bytes) noise that does not compress."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = bytearray()
    state = time.monotonic_ns() & 0xFFFFFFFF
    for y in range(height):
        rows.append(0)
        for x in range(width):
            if noise:
                state = (1103515245 * state + 12345) & 0x7FFFFFFF
                rows += state.to_bytes(4, "big")[1:]
            else:
                rows += bytes((90 + 60 * x // width, 150 + 60 * y // height, 110))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
