"""The probe of a CDN and the pages that follow it; the CDN is given, moment by moment."""

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, CdnProbe, Entry, HtmlRewriter, Manifest
from scalekit.errors import ConfigurationError
from tests.cdn.drivers import Response, Shell
from tests.servers.waiting import wait_until

CDN = "https://cdn.example.net"
PAGE = b"<img src=/static/logo.png>"
SHORT: dict[str, Any] = {"interval": 0.05, "timeout": 0.01}


class Cdn:
    """A CDN that answers as it is told, and says how often it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, str] | Exception = (200, "image/svg+xml")
        self.urls: list[str] = []

    def __call__(self, url: str, *, timeout: float) -> tuple[int, str]:
        self.urls.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def asked_again(self, times: int = 3) -> None:
        """Wait until it was."""
        before = len(self.urls)
        wait_until(lambda: len(self.urls) >= before + times, what="the probe to ask")


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn=CDN)


@pytest.fixture
def cdn() -> Cdn:
    return Cdn()


@pytest.fixture
def probe(assets: Assets, cdn: Cdn) -> Iterator[CdnProbe]:
    """That asks all the time. Its file is the smallest: hero.webp."""
    cdn.answer = (200, "image/webp")
    probe = CdnProbe(assets, fetch=cdn, clock=lambda: 0.0, **SHORT)
    yield probe
    probe.close()


def page(shell: Shell, assets: Assets, probe: Any) -> str | None:
    """Where a page has its image from."""
    body = shell.page(assets, Response([PAGE]), options={"probe": probe}).body
    if body == HtmlRewriter(assets.at(None)).rewrite(PAGE):
        return None
    assert body == HtmlRewriter(assets).rewrite(PAGE)
    return assets.cdn


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionRefusedError("no"),
        TimeoutError("late"),
        RuntimeError("of a client whose errors are none of the system's"),
        (502, "image/webp"),
        (404, "text/plain"),
        (200, "text/html"),
    ],
    ids=str,
)
def test_pages_follow_the_cdn(
    assets: Assets, shell: Shell, cdn: Cdn, probe: CdnProbe, failure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Pages point at the application while the CDN does not deliver, and at the CDN as soon as it does."""
    with caplog.at_level(logging.WARNING):
        assert page(shell, assets, probe) == CDN
        cdn.asked_again()
        assert page(shell, assets, probe) == CDN
        cdn.answer = failure
        wait_until(lambda: not probe.up, what="the outage")
        assert page(shell, assets, probe) is None
        assert assets.counts["cdn-down"] == 1
        cdn.asked_again()
        cdn.answer = (200, "IMAGE/webp; x=1")
        wait_until(lambda: probe.up, what="the return")
        assert page(shell, assets, probe) == CDN
    assert set(cdn.urls) == {assets.url("hero.webp")}
    wait_until(lambda: len(caplog.records) == 2, what="both messages")  # which follow what pages see
    went, came = caplog.records  # its coming is told as loudly as its going
    assert (went.levelno, came.levelno) == (logging.WARNING, logging.WARNING)
    assert came.getMessage() == f"the CDN {CDN} answers; pages point at it"


def test_a_cdn_that_never_answered(
    assets: Assets, shell: Shell, cdn: Cdn, probe: CdnProbe, caplog: pytest.LogCaptureFixture
) -> None:
    """Down from the start: the first page trusts it, later ones do not, and the log says what to look at."""
    cdn.answer = OSError("no route")
    assert page(shell, assets, probe) == CDN
    wait_until(lambda: page(shell, assets, probe) is None, what="the outage")
    # A page may see the outage before the probe's thread has told of it.
    wait_until(lambda: "has not answered once" in caplog.text, what="the advice")


def test_no_page_waits(assets: Assets, shell: Shell) -> None:
    """A probe that hangs holds up no page; when nothing was heard for an interval, its CDN is down."""
    hanging, now = threading.Event(), [0.0]

    def hang(url: str, *, timeout: float) -> tuple[int, str]:
        hanging.wait()
        return 200, "image/webp"

    probe = CdnProbe(assets, fetch=hang, clock=lambda: now[0])
    try:
        assert page(shell, assets, probe) == CDN
        now[0] = 10.0
        assert page(shell, assets, probe) == CDN
        now[0] = 10.1
        assert page(shell, assets, probe) is None
        hanging.set()
        wait_until(lambda: page(shell, assets, probe) == CDN, what="the answer")
    finally:
        hanging.set()
        probe.close()


def test_it_begins_with_the_first_page(assets: Assets, shell: Shell, cdn: Cdn, probe: CdnProbe) -> None:
    """Not when it is made, for that may be in another process; and JSON is no page."""
    shell.page(assets, Response([b"{}"], {"content-type": "application/json"}), options={"probe": probe})
    assert cdn.urls == []
    page(shell, assets, probe)
    cdn.asked_again(1)


def test_each_cdn_has_its_own_probe(assets: Assets, shell: Shell, cdn: Cdn, probe: CdnProbe) -> None:
    """Of several CDNs only the one that is down is done without; one that nobody probes is trusted."""
    eu = assets.at("https://eu.example.net")
    options = {
        "probe": [probe],
        "cdn": lambda request: request["method" if "method" in request else "REQUEST_METHOD"],
    }
    del options["cdn"]
    cdn.answer = OSError("down")
    wait_until(lambda: not probe.up, what="the outage")
    assert page(shell, assets, [probe]) is None
    body = shell.page(
        assets, Response([PAGE]), options={"probe": [probe], "cdn": lambda request: eu.cdn}
    ).body
    assert body == HtmlRewriter(eu).rewrite(PAGE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(assets: Assets, cdn: Cdn, probe: CdnProbe) -> None:
    """A child asks for itself: the thread of its parent is not there."""
    assert probe.up
    cdn.asked_again()
    child = os.fork()
    if child == 0:
        cdn.answer = OSError("down")
        status = 1
        try:
            assert probe.up
            wait_until(lambda: not probe.up, what="the outage in the child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert probe.up


def test_without_a_cdn(folder: Path, cdn: Cdn) -> None:
    """There is nothing to ask, as on a developer's machine."""
    probe = CdnProbe(Assets(folder), fetch=cdn)
    assert probe.up
    probe.close()
    assert cdn.urls == []


def test_mistakes_at_start_up(assets: Assets, folder: Path, tmp_path: Path, shell: Shell) -> None:
    """What could never work is told at once."""
    manifest = Manifest([Entry(name="app.js", hashed_name="app.0123.js", content_type="text/javascript")])
    for message, make in {
        "as long as": lambda: CdnProbe(assets, interval=4, timeout=2),
        "interval": lambda: CdnProbe(assets, interval=0),
        "failures=": lambda: CdnProbe(assets, failures=0),
        "fetch=": lambda: CdnProbe(assets, fetch=None),  # type: ignore[arg-type]
        "no file": lambda: CdnProbe(Assets(tmp_path, cdn=CDN)),
        "give Assets the folder": lambda: CdnProbe(Assets.from_manifest(manifest, cdn=CDN)),
        "probe=": lambda: shell.page(assets, Response([PAGE]), options={"probe": [assets]}),
    }.items():
        with pytest.raises(ConfigurationError, match=message):
            make()
