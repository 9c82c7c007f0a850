"""What assets, probes, shields and queues of purges report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scalekit.cdn import Assets, CdnProbe, Shield
from scalekit.cdn.purge_queue import PurgeQueue
from scalekit.errors import BackendUnavailable
from tests.cdn.drivers import Response, Shell
from tests.cdn.purgers import Recorder
from tests.measured import numbers, risen
from tests.servers.waiting import wait_until

CDN = "https://cdn.example.net"


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn=CDN)


def test_assets_report_pages_and_requests(shell: Shell, assets: Assets) -> None:
    """Rewritten pages and URLs, pages that passed as they were, assets that were asked for."""
    before = numbers(assets)
    assert set(before.values()) == {0}
    page = Response([b"<img src=/static/logo.png>"])
    shell.page(assets, page)
    shell.page(assets, Response([b"x"], {"content-type": "text/html", "content-encoding": "x"}))
    shell.page(assets, page, "/static/logo.png")
    shell.page(assets, page, "/static/logo.000000000000.png")
    shell.page(assets, page, "/static/other.png")
    found = risen(before, numbers(assets))
    assert found == {
        "scalekit_cdn_pages_rewritten": 2,
        "scalekit_cdn_urls_rewritten": 2,
        "scalekit_cdn_pages_untouched encoded": 1,
        "scalekit_cdn_assets_served found": 1,
        "scalekit_cdn_assets_served missing": 1,
    }
    assert numbers(assets.at("https://other.example")) == numbers(assets)


def test_a_probe_reports_whether_the_cdn_is_up(assets: Assets) -> None:
    """Looking begins nothing; once pages have asked, it is what they follow."""

    def away(url: str, *, timeout: float) -> tuple[int, str]:
        raise OSError

    probe = CdnProbe(assets, interval=0.05, timeout=0.01, fetch=away)
    assert numbers(probe) == {"scalekit_cdn_up": 1}
    assert probe._thread is None
    assert probe.up
    wait_until(lambda: numbers(probe) == {"scalekit_cdn_up": 0}, what="the CDN to be down")
    probe.close()


def test_a_shield_reports_whom_it_let_in() -> None:
    """By secret, as exempt, or why not."""
    shield = Shield(secret=["the-secret-of-last-year-0123", "the-secret-of-this-year-4567"])
    shield.admits("/", [(b"x-origin-secret", b"the-secret-of-this-year-4567")])
    shield.admits("/health/ready", [])
    shield.admits("/", [])
    shield.admits("/", [(b"x-origin-secret", b"wrong")])
    assert numbers(shield) == {
        "scalekit_cdn_shield_requests secret_2": 1,
        "scalekit_cdn_shield_requests exempt": 1,
        "scalekit_cdn_shield_requests missing": 1,
        "scalekit_cdn_shield_requests wrong": 1,
        "scalekit_cdn_shield_no_address": 0,
    }


def test_a_queue_reports_purges() -> None:
    """What was purged, what was tried again, and what waits."""
    queue = PurgeQueue(Recorder(BackendUnavailable("down", backend="cdn")), delay=0)
    assert set(numbers(queue).values()) == {0}
    queue.add(["a", "b"])
    assert queue.wait(60)
    assert risen({}, numbers(queue)) == {
        "scalekit_cdn_purges purged": 2,
        "scalekit_cdn_purge_retries": 1,
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_can_count(folder: Path) -> None:
    """Though a thread of its parent held the lock when it was forked."""
    source = f"""if True:
        import os, signal
        from scalekit.cdn import Assets

        assets: Any = Assets({str(folder)!r})
        with assets.counts._lock:
            pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            assets.counts.add("pages")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """
    subprocess.run([sys.executable, "-c", source.replace(": Any", "")], check=True, timeout=60)
