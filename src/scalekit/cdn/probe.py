"""Whether the CDN answers, asked from the server, so that pages can do without it.

Rules:

* A thread of its own asks, the same under ASGI and WSGI; no request ever waits for it, and no event loop that
  is held up can hold it up. It begins with the first page, anew in each process.
* It asks for one small asset under its hashed name, as a browser would. Any answer but that file (another
  status, another type, one that takes too long) is a failure.
* When that counts as down, and when it asks again, is decided in :mod:`scalekit.cdn._health`.
* Each process judges for itself: a server whose own way to the CDN is cut serves its pages' files itself.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from scalekit._durations import Duration, seconds
from scalekit._forks import renew_in_children
from scalekit._options import check_count, check_function
from scalekit.cdn._asset import AssetFile
from scalekit.cdn._fetch import Fetch
from scalekit.cdn._fetch import fetch as fetch_file
from scalekit.cdn._health import Health
from scalekit.cdn.assets import Assets, check_assets
from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric, gauge

_log = logging.getLogger("scalekit.cdn")


class CdnProbe:
    """Asks a CDN for one of its assets again and again.

    >>> probe = CdnProbe(assets)
    >>> app.add_middleware(AssetMiddleware, assets=assets, probe=probe)

    Args:
        assets: the assets, at the CDN in question. Without one there is nothing to ask, and it is never down.
        interval: seconds (or ``timedelta``) within which pages follow the CDN's going and coming; default 10.
        timeout: seconds (or ``timedelta``) that one answer may take; default 2.
        failures: how many in a row make it down; default 2. All of them have to fit into ``interval``.
        fetch: asks for a URL, for a way to the CDN of your own (a proxy, a private certificate authority).
            Whatever it raises is a failure.
        clock: a clock in seconds that never goes back.

    Raises:
        ConfigurationError: the options do not fit, there is no asset to ask for, or the application has no
            files of its own that pages could fall back on.
    """

    def __init__(
        self,
        assets: Assets,
        *,
        interval: Duration = 10.0,
        timeout: Duration = 2.0,
        failures: int = 2,
        fetch: Fetch = fetch_file,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_assets(assets)
        check_function(fetch, option="fetch=", wanted="a function that fetches a URL")
        self._interval = seconds(interval, name="interval", minimum=0.01)
        self._timeout = seconds(timeout, name="timeout", minimum=0.001)
        self._failures = check_count(failures, option="failures=", least=1, cure="1 trusts no second try")
        if self._failures * self._timeout >= self._interval:
            raise ConfigurationError(
                f"{failures} failures of timeout={self._timeout:g} seconds each take as long as "
                f"interval={self._interval:g}; give a longer interval or a shorter timeout"
            )
        self._fetch, self._clock = fetch, clock
        self.cdn = assets.cdn
        if self.cdn is not None:
            asset = _smallest(assets)
            self._url, self._kind = assets.url(asset.name), _plain(asset.content_type)
        self._renew()
        renew_in_children(self)

    def _renew(self) -> None:
        self._starting = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._health = self._fresh()

    def _fresh(self) -> Health:
        return Health(
            interval=self._interval, timeout=self._timeout, failures=self._failures, now=self._clock()
        )

    @property
    def up(self) -> bool:
        """Whether pages may point at the CDN. Never waits; the first time it begins to ask."""
        if self.cdn is None:
            return True
        if self._thread is None:
            self._start()
            return True  # whatever it has found already: the first page says the same on every machine
        return self._health.is_up(self._clock())

    def metrics(self) -> Iterator[Metric]:
        """Whether the CDN is up; until the first page has asked, it is. Begins nothing."""
        up = self._thread is None or self._health.is_up(self._clock())
        yield gauge("scalekit_cdn_up", "Whether the CDN answers, as this process sees it.", up)

    def close(self) -> None:
        """End the thread, for tests; it ends with the process by itself. The next page begins anew."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._renew()

    def forked(self) -> None:
        """Threads do not come along."""
        self._renew()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._health = self._fresh()
                thread = threading.Thread(target=self._ask, daemon=True, name="scalekit.cdn: probe")
                thread.start()
                self._thread = thread

    def _ask(self) -> None:
        health, closed = self._health, self._closed
        while not closed.is_set():
            began = self._clock()
            was_up = health.is_up(began)
            problem = self._try()
            now = self._clock()
            if problem is None:
                returned = not was_up or not health.ever
                health.succeeded(now)
                if returned:
                    # As loud as its going: whoever was woken by that waits for this.
                    level = logging.INFO if was_up else logging.WARNING
                    _log.log(level, "the CDN %s answers; pages point at it", self.cdn)
            else:
                health.failed(now)
                if was_up and not health.is_up(now):
                    self._tell(problem, health)
            closed.wait(health.pause(now - began))

    def _try(self) -> str | None:
        """What was wrong with the answer, or ``None``."""
        try:
            status, kind = self._fetch(self._url, timeout=self._timeout)
        # It may be the user's: after any other error the thread would be gone, and the CDN down for good.
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        if status != 200:
            return f"status {status}"
        return None if _plain(kind) == self._kind else f"Content-Type {kind!r}"

    def _tell(self, problem: str, health: Health) -> None:
        advice = (
            "" if health.ever else "; it has not answered once: can this server reach it, has it the file?"
        )
        _log.warning(
            "the CDN does not deliver %s (%s)%s; pages point at the application until it does",
            self._url,
            problem,
            advice,
        )


def _smallest(assets: Assets) -> AssetFile:
    files = [asset for asset in assets if isinstance(asset, AssetFile)]
    if len(files) < len(assets):
        raise ConfigurationError(
            "a probe needs assets whose files the application has, or pages could not do without the CDN; "
            "give Assets the folder"
        )
    if not files:
        raise ConfigurationError(f"{assets!r} has no file that a probe could ask for")
    return min(files, key=lambda asset: (asset.size == 0, asset.size, asset.name))


def _plain(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
