"""Every page of the demo, in light and dark, on a desk and on a phone."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import Demo
from tests.e2e.visitor import Visitor, png

pytestmark = pytest.mark.timeout(240)

PAGES = {
    "home": "/",
    "category": "/?category=succulents",
    "product": "/plants/monstera",
    "basket": "/cart",
    "checkout": "/checkout",
    "orders": "/orders",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desk", "phone", "small"])
def test_pages(browser: Browser, shop: Demo, artifacts: Path, scheme: str, device: str) -> None:
    """No page has a script error, a missing asset, a line cut off sideways, or an image without text."""
    size = {
        "desk": {"width": 1280, "height": 860},
        "phone": {"width": 390, "height": 844},
        "small": {"width": 320, "height": 640},
    }[device]
    visitor = Visitor(browser, shop.url, viewport=size, color_scheme=scheme)
    page = visitor.page
    visitor.go("/login")
    page.screenshot(path=artifacts / f"login-{device}-{scheme}.png", full_page=True)
    visitor.go("/cart")
    page.screenshot(path=artifacts / f"empty-{device}-{scheme}.png", full_page=True)
    visitor.log_in("Fern")
    visitor.add("string-of-pearls", 2)
    visitor.order()
    visitor.add("monstera")
    for name, path in PAGES.items():
        visitor.go(path)
        page.screenshot(path=artifacts / f"{name}-{device}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
        assert page.locator("img:not([alt])").count() == 0
        broken = page.evaluate(
            "[...document.images].filter(i => i.currentSrc && i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == []
    assert visitor.failures == []
    visitor.close()


def test_a_photo(browser: Browser, shop: Demo) -> None:
    """A photo is thanked for where it is shown; what is no picture is refused, and leaves no broken one."""
    visitor = Visitor(browser, shop.url)
    visitor.log_in("Basil")
    visitor.go("/plants/calathea")
    page = visitor.page
    preview, problem = page.locator(".drop-preview"), page.locator(".drop-error")
    expect(preview).to_be_hidden()
    page.set_input_files("#photo", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    expect(problem).to_have_text("A PNG, JPEG, WebP or GIF, please.")
    page.set_input_files("#photo", {"name": "a.png", "mimeType": "image/png", "buffer": b"words"})
    expect(problem).to_have_text("That picture cannot be read.")
    expect(preview).to_be_hidden()
    visitor.share_photo("calathea", "By the bath", png(64, 64))
    expect(page.locator("#photos").get_by_role("status")).to_contain_text("Thank you")
    expect(page.locator("#photos").get_by_role("status")).to_be_in_viewport()
    expect(page.locator(".photos-head p")).to_have_text("1 photo")
    visitor.close()


def test_the_basket_badge(browser: Browser, shop: Demo) -> None:
    """On a phone the number stands on a corner of the basket, and leaves most of it to be seen."""
    visitor = Visitor(browser, shop.url, viewport={"width": 390, "height": 844})
    visitor.add("ivy", 12)
    badge = visitor.page.locator("a.basket .badge").bounding_box()
    icon = visitor.page.locator("a.basket .icon").bounding_box()
    assert badge is not None
    assert icon is not None
    wide = min(icon["x"] + icon["width"], badge["x"] + badge["width"]) - max(icon["x"], badge["x"])
    high = min(icon["y"] + icon["height"], badge["y"] + badge["height"]) - max(icon["y"], badge["y"])
    assert max(0, wide) * max(0, high) < icon["width"] * icon["height"] / 4
    visitor.close()


def test_the_assets_come_from_the_cdn(browser: Browser, shop: Demo) -> None:
    """Style sheets, scripts and pictures come from the CDN's port, under names that never change."""
    visitor = Visitor(browser, shop.url)
    answers = []
    visitor.page.on("response", lambda answer: answers.append(answer))
    visitor.go("/")
    assets = [answer for answer in answers if "/static/" in answer.url]
    assert len(assets) > 15
    assert not [answer.url for answer in assets if answer.url.startswith(shop.url)]
    assert {answer.header_value("cache-control") for answer in assets} == {
        "public, max-age=31536000, immutable"
    }
    visitor.close()


def test_a_page_that_is_not_there(browser: Browser, shop: Demo, artifacts: Path) -> None:
    """A wrong address is answered with 404 and a way back."""
    page = browser.new_page()
    answer = page.goto(shop.url + "/plants/triffid")
    assert answer is not None
    assert answer.status == 404
    page.get_by_role("link", name="See the plants").wait_for()
    page.screenshot(path=artifacts / "not-there.png")
    page.close()


def test_without_a_mouse(browser: Browser, shop: Demo) -> None:
    """The keyboard alone buys a plant."""
    visitor = Visitor(browser, shop.url)
    visitor.go("/plants/ivy")
    page = visitor.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_role("button", name="Add to basket").focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    visitor.basket = 1
    visitor.check()
    visitor.close()
