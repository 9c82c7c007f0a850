"""Visitors, their notes and the checkers together: what a shop gets wrong is found, and nothing else."""

import random
import time

import aiohttp
import pytest

from examples.bigevent import checkers
from examples.bigevent.client import Browser, Traffic
from examples.bigevent.history import Event
from examples.bigevent.journeys import Visitor
from tests.bigevent.fake_shop import BUGS, FakeShop

FINDS = {
    "": set(),
    "write": {"acknowledged writes", "stale reads"},
    "stale": {"stale reads"},
    "cart": {"carts"},
    "came back": {"carts"},
    "upload": {"uploads"},
    "another upload": {"uploads"},
    "range": {"uploads"},
    "photo record": {"acknowledged writes"},
    "two tabs": {"carts"},
    "asset": {"dead assets"},
    "release": {"dead assets"},
    "login": {"log-ins", "carts"},  # who logs in anew has another cart
    "user": {"other users' data"},
}


async def visits(shop: FakeShop, *, clicks: int = 150) -> list[checkers.Violation]:
    """Two visitors, in turns, until each has clicked so often; then they look again."""
    random.seed(5)  # what they do; with this, all there is to do
    events: list[Event] = []
    async with (
        shop.running() as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        never = time.monotonic() + 3600
        for name in ("ann", "bob"):
            browser = Browser(http, front=url, traffic=Traffic(), until=never)
            visitor = Visitor(name, browser, events, leave=never, think=0.0001)
            done = 0
            while done < clicks:
                for step in visitor._visit():
                    await step
                    done += 1
            await visitor.look_again(never)
    assert {event.what for event in events} == {
        "login", "put", "cart", "checkout", "write", "read", "upload", "download", "page", "asset",
    }  # fmt: skip
    return checkers.shown_by(events, shop.final)


@pytest.mark.parametrize("bug", ["", *BUGS])
async def test_what_a_shop_gets_wrong_is_found(bug: str) -> None:
    """By the checkers whose matter it is, and by no other; and of a shop that gets nothing wrong, nothing."""
    assert {violation.checker for violation in await visits(FakeShop(bug))} == FINDS[bug]


async def test_who_never_logged_in_has_nothing_to_look_for() -> None:
    """A visitor whose log-in was not answered goes on to nothing that is not for strangers, and looks for
    nothing at the end: what they would be refused is no failure of the shop's."""
    async with (
        FakeShop("no login").running() as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        never, traffic = time.monotonic() + 3600, Traffic()
        browser = Browser(http, front=url, traffic=traffic, until=never, patience=0.0)
        events: list[Event] = []
        visitor = Visitor("ann", browser, events, leave=never)
        for step in visitor._visit():
            await step
        await visitor.look_again(never)
        assert [event.what for event in events] == ["page", "asset", "login"]
        assert [failure.cause for failure in traffic.failures] == ["503"]


async def test_who_was_logged_out_logs_in_to_look() -> None:
    """What is in the cart then is what there is."""
    events: list[Event] = []
    async with (
        FakeShop().running() as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        never = time.monotonic() + 3600
        visitor = Visitor(
            "ann", Browser(http, front=url, traffic=Traffic(), until=never), events, leave=never
        )
        await visitor._log_in()
        await visitor._put("aloe")
        visitor._logged_in = False  # as after an answer 401
        await visitor.look_again(never)
    assert [violation.text for violation in checkers.carts(events)] == ["ann-0 is missing from the cart"]
