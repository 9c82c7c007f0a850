"""The demo's promise: servers and databases come and go, and no visitor notices."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import Demo, demo
from tests.e2e.visitor import Visitor, png
from tests.servers import processes, wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def room(browser: Browser, shop: Demo) -> Iterator[Page]:
    """The control room, open in another tab."""
    page = browser.new_page(viewport={"width": 1360, "height": 1000}, reduced_motion="reduce")
    page.goto(shop.url + "/control")
    expect(page.locator("#live")).to_have_class("live")
    expect(page.locator("#servers > li")).to_have_count(3)
    yield page
    page.close()


def _pid_of(room: Page, server: str) -> int:
    text = room.locator(f'[data-server="{server}"] small').first.inner_text()
    return int(text.split()[1])


def test_the_server_that_answered_is_killed(
    browser: Browser, shop: Demo, room: Page, artifacts: Path
) -> None:
    """Killed with SIGKILL, the server that answered takes nothing with it: log-in, basket and photo stay."""
    visitor = Visitor(browser, shop.url, viewport={"width": 1280, "height": 860})
    visitor.log_in("Fern")
    visitor.add("monstera", 2)
    visitor.add("ivy")
    visitor.share_photo("aloe", "On my sill", png(640, 480, noise=True))
    visitor.page.screenshot(path=artifacts / "shop-photo.png", full_page=True)
    first = visitor.server
    os.kill(_pid_of(room, first), signal.SIGKILL)
    servers = set()
    for path in ("/plants/aloe", "/cart", "/", "/plants/aloe", "/orders"):
        visitor.go(path)
        servers.add(visitor.server)
        if path == "/plants/aloe":
            visitor.sees_photo("On my sill")
    assert first not in servers
    assert len(servers) == 2, servers
    visitor.go("/cart")
    assert visitor.page.locator(".line").count() == 2
    visitor.page.screenshot(path=artifacts / "shop-basket-after-kill.png")
    visitor.order()
    visitor.close()
    room.locator("#start-server").click()
    expect(room.locator('#servers > li[data-state="ready"]')).to_have_count(3)


def test_every_button(browser: Browser, shop: Demo, room: Page, artifacts: Path) -> None:
    """Whatever is pressed while a crowd is in the shop, a visitor stays logged in, keeps the basket, finds
    every order just placed, and no page fails."""
    visitor = Visitor(browser, shop.url)
    visitor.log_in("Olive")
    room.get_by_role("button", name="8 for 20 s").click()

    def walk() -> None:
        visitor.add("pilea")
        visitor.order()

    def press(button: str, target: str, state: str) -> None:
        """Press, go on shopping while it happens, and wait until it has."""
        kind = "server" if target.startswith("server") else "database"
        row = room.locator(f'[data-{kind}="{target}"]')
        row.get_by_role("button", name=button).click()
        walk()
        if state == "primary":
            expect(row).to_have_attribute("data-role", "primary")
            expect(room.locator('#databases [data-state="switching"]')).to_have_count(0)
        elif state == "gone":  # its row is taken away after a while, maybe before this is looked at
            expect(room.locator(f'[data-server="{target}"]:not([data-state="gone"])')).to_have_count(0)
        else:
            expect(row).to_have_attribute("data-state", state)

    ready = room.locator('#servers > li[data-state="ready"]')
    names = ready.evaluate_all("rows => rows.map(row => row.dataset.server)")
    press("Pause", "db-2", "paused")
    room.locator("#start-server").click()
    press("Kill", names[0], "gone")
    press("Kill", "db-3", "down")
    press("Drain", names[1], "gone")
    press("Resume", "db-2", "running")
    press("Promote", "db-2", "primary")
    room.screenshot(path=artifacts / "control-room.png", full_page=True)
    press("Start", "db-3", "running")
    room.locator("#start-server").click()
    walk()
    expect(room.locator('[data-do="burst"][data-target="breeze"]')).to_be_enabled()
    for name in ("failed", "logged out", "basket changed", "order missing"):
        assert room.locator(f'[data-check="{name}"] b').inner_text() == "0", name
    said = shop.log.read_text()
    assert ": db-3 is left out" in said
    assert "127.0.0.1" not in said.partition("ready in")[2].replace("('127.0.0.1'", "")
    assert int(room.locator('[data-check="orders"] b').inner_text().replace(",", "")) > 5
    for number in visitor.orders:
        visitor.go(f"/orders/{number}")
        assert visitor.page.locator(f'[data-order="{number}"]').count() == 1
    visitor.close()
    # The last one is in no list before it has started, and the next test kills what is there.
    expect(ready).to_have_count(3)


def test_all_servers_gone(browser: Browser, shop: Demo, room: Page, artifacts: Path) -> None:
    """With no server at all there is a friendly page, which leads back by itself, to the basket as it was.
    A form gets one that says that nothing was ordered, and leads back to the form."""
    visitor = Visitor(browser, shop.url)
    visitor.log_in("Reed")
    visitor.add("cactus")
    form = visitor.context.new_page()
    form.goto(shop.url + "/checkout")
    running = room.locator('#servers > li:not([data-state="gone"])')
    for name in running.evaluate_all("rows => rows.map(row => row.dataset.server)"):
        room.locator(f'[data-server="{name}"]').get_by_role("button", name="Kill").click()
    expect(room.locator('#servers > li[data-state="ready"]')).to_have_count(0)
    answer = visitor.page.goto(shop.url + "/cart")
    assert answer is not None
    assert answer.status == 503
    expect(visitor.page.get_by_role("heading")).to_have_text("Just a moment")
    visitor.page.screenshot(path=artifacts / "shop-busy.png")
    missed: list[str] = []
    form.on("response", lambda answer: missed.append(answer.url) if answer.status == 404 else None)
    form.get_by_role("button", name="Place the order").click()
    expect(form.get_by_role("heading")).to_have_text("That did not reach us")
    expect(form.get_by_text("Nothing was ordered or changed")).to_be_visible()
    expect(form.get_by_text("Waiting for a server")).to_be_visible()
    expect(form.get_by_role("link", name="Back to where you were")).to_be_hidden()
    form.screenshot(path=artifacts / "shop-busy-form.png")
    assert missed == []
    expect(room.get_by_text("No server is left.")).to_be_visible()
    room.locator("#no-servers").get_by_role("button", name="Start a server").click()
    form.get_by_role("link", name="Back to where you were").click(timeout=60_000)
    form.get_by_role("heading", name="Where shall we send it?").wait_for()
    form.close()
    visitor.page.get_by_role("heading", name="Your basket").wait_for(timeout=60_000)
    visitor.failures.clear()
    visitor.check()
    visitor.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and even SIGKILL of the supervisor end every child, and remove its folders."""
    with demo(tmp_path / "log", "--servers", "1") as running:
        pids = running.tree()
        assert len(pids) > 10  # Valkey, PostgreSQL and its workers, the app server
        folders = (
            {Path(f"/proc/{pid}/cwd").readlink() for pid in pids}
            if Path("/proc/self/cwd").exists()
            else set()
        )
        folders = {folder for folder in folders if "scalekit-" in str(folder)}
        running.end(number)
        wait_until(lambda: not [folder for folder in folders if folder.exists()], what="the folders go")
        assert "Traceback" not in running.log.read_text()


def test_single(browser: Browser, tmp_path: Path, artifacts: Path) -> None:
    """``--single`` is the same shop in one process."""
    with demo(tmp_path / "log", "--single") as running:
        visitor = Visitor(browser, running.url)
        visitor.log_in("Basil")
        visitor.add("aloe", 3)
        visitor.share_photo("aloe", "By the stove", png(64, 64))
        visitor.order()
        room = browser.new_page()
        room.goto(running.url + "/control")
        expect(room.locator("#servers > li")).to_have_count(1)
        expect(room.locator("#start-server")).to_be_hidden()
        for text in ("Reads on replicas", "second server", "next server", "shared"):
            expect(room.get_by_text(text)).to_be_hidden()
        expect(room.locator("#replica-reads")).not_to_have_text("0")  # SQLite's reads
        expect(room.locator("#commits")).to_have_text("2")  # a photo and an order
        expect(room.locator("#local")).not_to_have_text("0")
        room.screenshot(path=artifacts / "control-room-single.png", full_page=True)
        assert processes.tree(running.process.pid) == [running.process.pid]
        running.end(signal.SIGINT)
        # What is shown is old now, and says so.
        expect(room.locator("#live")).to_have_text("offline")
        expect(room.locator("body.stale")).to_have_count(1)
        assert room.locator("button[data-do]:enabled").count() == 0
        room.screenshot(path=artifacts / "control-room-offline.png", full_page=True)
        visitor.close()
        room.close()
