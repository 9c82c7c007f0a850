"""The control room: what it shows is true, what it is asked is answered, and it fits every screen."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests import plain
from tests.e2e.conftest import ROOT, Demo
from tests.e2e.visitor import Visitor
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(240)


def press(shop: Demo, button: str) -> httpx.Response:
    return plain.post(f"{shop.url}/control/do/{button}")


def snapshots(shop: Demo) -> Generator[dict[str, Any], None, None]:
    """What is shown now, and again every half second."""
    with plain.stream("GET", f"{shop.url}/control/events") as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def snapshot(shop: Demo) -> dict[str, Any]:
    with closing(snapshots(shop)) as shown:
        return next(shown)


def totals(shown: dict[str, Any]) -> dict[str, int]:
    """What can only grow."""
    found = {
        name: sum(node[name] for node in shown["databases"]) for name in ("reads", "replica_reads", "commits")
    }
    found |= {name: shown["cache"][name] for name in ("local_hits", "hits", "misses")}
    return found | {name: shown["traffic"][name] for name in ("total", "failed", "repeated")}


def settled(shop: Demo) -> dict[str, int]:
    """The totals when nobody is in the shop any more, and every server was asked what it counted."""
    found: list[dict[str, int]] = []
    with closing(snapshots(shop)) as shown:
        for each in shown:
            found.append(totals(each))
            if found.count(found[-1]) == 13:  # 6 s; a round of asking takes 0.7 s, and more of a busy server
                return found[-1]
    raise AssertionError("the events end")


def logged(shop: Demo) -> list[str]:
    return [entry["text"] for entry in snapshot(shop)["log"]]


@pytest.mark.parametrize(
    ("button", "status", "word"),
    [
        ("burst", 400, "burst of what?"),
        ("drain_server", 400, "drain_server of what?"),
        ("promote", 400, "promote of what?"),
        ("burst?target=flood", 404, "there is no crowd called flood"),
        ("drain_server?target=server-99", 404, "there is no server server-99"),
        ("pause_replica?target=db-9", 404, "there is no database db-9"),
        ("drain_server?target=", 400, "of what?"),
        ("explode", 404, "there is no such button"),
        ("promote?target=db-1", 409, "db-1 is the primary"),
    ],
)
def test_a_button_that_cannot_be_pressed(shop: Demo, button: str, status: int, word: str) -> None:
    """It is refused with a word."""
    answer = press(shop, button)
    assert answer.status_code == status
    assert word in answer.json()["problem"]


@pytest.fixture
def crowd(shop: Demo) -> Callable[[], None]:
    """Sends four visitors into the shop for three seconds, who order and meet no fault."""

    def come() -> None:
        done = subprocess.run(
            [sys.executable, "-m", "examples.shop.load", shop.url, "4", "3"],
            cwd=ROOT, check=True, timeout=60, stdout=subprocess.PIPE,
        )  # fmt: skip
        report = json.loads(done.stdout.splitlines()[-1])["total"]
        assert report["orders"] > 0
        assert report["failed"] == 0

    return come


def test_the_crowd_keeps_to_itself(browser: Browser, shop: Demo, crowd: Callable[[], None]) -> None:
    """Whatever a crowd orders, a visitor's list has the visitor's own orders, and theirs alone."""
    visitor = Visitor(browser, shop.url)
    visitor.log_in("Reed")
    visitor.add("cactus")
    visitor.order()
    crowd()
    visitor.go("/orders")
    numbers = visitor.page.locator("a[data-order]").evaluate_all("all => all.map(one => one.dataset.order)")
    assert numbers == visitor.orders
    visitor.close()


def test_totals_never_go_back(shop: Demo, crowd: Callable[[], None]) -> None:
    """A server that ends takes no count with it, and a promotion moves no read from one role to another."""
    crowd()
    before = settled(shop)
    assert before["commits"] > 0
    assert press(shop, "start_server").status_code == 200
    press(shop, "kill_server?target=server-1")
    wait_until(lambda: "server-1 is gone" in logged(shop), what="server-1 is gone")
    after = settled(shop)
    assert {name: (before[name], after[name]) for name in before if after[name] < before[name]} == {}
    assert press(shop, "promote?target=db-2").status_code == 200
    shown = snapshot(shop)
    assert {node["name"] for node in shown["databases"] if node["role"] == "primary"} == {"db-2"}
    promoted = settled(shop)
    # Nobody is in the shop, so nothing may have changed.
    assert [promoted[name] for name in ("reads", "replica_reads")] == [
        after[name] for name in ("reads", "replica_reads")
    ]
    assert 0 < promoted["replica_reads"] < promoted["reads"]


def test_the_log_tells_the_act_first(shop: Demo) -> None:
    """First what was done, then what came of it; a drain that a kill overtakes has not finished."""
    [pid] = [server["pid"] for server in snapshot(shop)["servers"] if server["name"] == "server-2"]
    os.kill(pid, signal.SIGSTOP)  # or it might be gone before the next button is pressed
    assert press(shop, "drain_server?target=server-2").status_code == 200
    assert press(shop, "drain_server?target=server-2").status_code == 409  # would cut it short
    press(shop, "kill_server?target=server-2")
    wait_until(lambda: "server-2 is gone" in logged(shop), what="server-2 is gone")
    log = logged(shop)
    assert log.index("server-2 killed with SIGKILL") < log.index("server-2 is gone")
    assert not [text for text in log if "server-2" in text and "finished" in text]
    press(shop, "drain_server?target=server-3")
    done = "server-3 has finished what it had begun, and is gone"
    wait_until(lambda: done in logged(shop), what="server-3 drains", timeout=60)


def test_the_limit_holds(shop: Demo) -> None:
    """However many ask for a server at the same moment, there are six at most."""
    running = sum(server["state"] != "gone" for server in snapshot(shop)["servers"])
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: press(shop, "start_server").status_code, range(8)))
    assert answers.count(200) == 6 - running
    assert answers.count(409) == 8 - (6 - running)
    assert sum(server["state"] != "gone" for server in snapshot(shop)["servers"]) == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1360, 1920])
def test_it_fits(browser: Browser, shop: Demo, artifacts: Any, width: int, scheme: Any) -> None:
    """Nothing is cut off sideways, numbers stand in line, and letters in the charts are as large as ever."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.goto(shop.url + "/control")
    page.locator("#servers > li").first.wait_for()
    page.locator("#servers h3 > span:first-child").first.evaluate("name => name.textContent = 'server-14'")
    page.screenshot(path=artifacts / f"control-room-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for chart in ("latency", "histogram"):
        wide, box = page.locator(f"#{chart}").evaluate("it => [it.clientWidth, it.viewBox.baseVal.width]")
        assert wide == box, "a unit is a pixel"
    name = page.locator("#servers h3 > span:first-child").first
    assert name.evaluate("it => it.getClientRects().length") == 1, "one line"
    tops = "all => all.map(it => [it.closest('li, .tile'), it].map(one => one.getBoundingClientRect().top))"
    for figures in (".tile .figure", "#checks b"):
        rows: dict[int, set[int]] = {}
        for tile, figure in page.locator(figures).evaluate_all(tops):
            rows.setdefault(round(tile), set()).add(round(figure))
        assert all(len(found) == 1 for found in rows.values()), f"{figures} are not in line: {rows}"
    # In one step: a lane whose server has gone is taken away between two.
    left, right = page.locator("#servers > li").first.evaluate(
        """lane => {
            const [outer, first, last] = [lane, ...["h3", ".danger"].map(it => lane.querySelector(it))]
                .map(it => it.getBoundingClientRect());
            return [first.left - outer.left, outer.right - last.right];
        }"""
    )
    assert abs(left - right) < 2, "as much space at both ends"
    edges = page.evaluate(
        "['.open', '.databases'].map(name => document.querySelector(name).getBoundingClientRect().right)"
    )
    assert abs(edges[0] - edges[1]) < 2, "header and panels end together"
    page.close()


def _shows_that_it_goes_on(page: Page) -> bool:
    return bool(page.locator("#log").evaluate("log => getComputedStyle(log).maskImage !== 'none'"))


def test_a_long_log(browser: Browser, shop: Demo) -> None:
    """A log that goes on below its edge fades there, and no more when its end is reached."""
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(shop.url + "/control")
    expect(page.locator("#log li")).not_to_have_count(0)
    assert page.locator("#log").evaluate("log => log.scrollHeight > log.clientHeight")
    assert _shows_that_it_goes_on(page)
    page.locator("#log").evaluate("log => log.scrollTo(0, log.scrollHeight)")
    wait_until(lambda: not _shows_that_it_goes_on(page), what="the end of the log")
    page.close()
