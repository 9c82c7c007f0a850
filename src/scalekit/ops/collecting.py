"""What one application reports: the numbers of its pieces, each under a name, and those of its requests.

Rules:

* Each object has a name, which all of its samples get as the label ``name``: two caches are two series.
* An object that fails, contradicts another one or tells what no exporter can write costs its own numbers and
  no other's. It is logged once, and counted in ``scalekit_metrics_failures``.
* The numbers are those of this process. See :mod:`scalekit.ops.siblings` for servers that have several.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scalekit._options import check_kind, check_text
from scalekit._tally import Tally
from scalekit.errors import ConfigurationError
from scalekit.metrics import Measured, Metric, Sample
from scalekit.ops._wellformed import wellformed
from scalekit.ops.traffic import Traffic

_log = logging.getLogger("scalekit.ops")

_WANTED = "an object with a method metrics(), such as a cache, a session store or a cluster"


class Metrics:
    """All that one application reports.

    >>> metrics = Metrics({"sessions": store, "cache": cache, "database": cluster})

    Args:
        of: what reports, by the names that tell it from others of its kind.

    Attributes:
        traffic: the requests, which :class:`scalekit.ops.asgi.MetricsMiddleware` or its WSGI twin counts.

    Raises:
        ConfigurationError: something does not report.
    """

    def __init__(self, of: Mapping[str, Measured] | None = None) -> None:
        self.traffic = Traffic()
        self._failures = Tally(
            "scalekit_metrics_failures", "Objects that could not tell their numbers.", labels=["name"]
        )
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._things: dict[str, Measured] = {}
        check_kind(of or {}, Mapping, option="of=", wanted="a dict of names and objects")
        for name, thing in (of or {}).items():
            self.add(name, thing)

    def add(self, name: str, thing: Measured) -> None:
        """Report ``thing`` as well, as ``name``. Adding the same once more changes nothing.

        Raises:
            ConfigurationError: it does not report, or another one has the name.
        """
        check_text(name, option="the name of what is measured", wanted="a text, such as 'cache'")
        check_kind(thing, Measured, option=f"metrics of {name!r:.60}", wanted=_WANTED)
        with self._lock:
            if self._things.setdefault(name, thing) is not thing:
                raise ConfigurationError(
                    f"two objects are to be measured as {name!r:.60}; dashboards tell them by name"
                )

    def collect(self) -> list[Metric]:
        """The numbers of this moment, each metric once. Without I/O; in any thread."""
        found = {metric.name: metric for metric in self.traffic.metrics()}
        with self._lock:
            things = list(self._things.items())
        for name, thing in things:
            try:
                own = merged(found, [_named(wellformed(metric), name) for metric in thing.metrics()])
            # It may be the application's own; and who watches must go on seeing all the others.
            except Exception:  # noqa: BLE001
                self._failed(name)
            else:
                found = own
        failures = self._failures.metric()
        return [*found.values(), failures]

    def _failed(self, name: str) -> None:
        self._failures.add(name)
        if name not in self._told:
            self._told.add(name)
            _log.exception("%r could not tell its numbers; it is asked again, and not logged again", name)


def merged(known: Mapping[str, Metric], more: Iterable[Metric]) -> dict[str, Metric]:
    """``known`` with ``more``: metrics of one name become one.

    Raises:
        ValueError: two of one name differ in kind or labels.
    """
    found = dict(known)
    for metric in more:
        there = found.get(metric.name)
        if there is None:
            found[metric.name] = metric
            continue
        labels = {tuple(sample.labels) for sample in (*there.samples[:1], *metric.samples)}
        if there.kind != metric.kind or len(labels) > 1:
            raise ValueError(f"{metric.name} is a {there.kind} and a {metric.kind}, or has other labels")
        found[metric.name] = replace(there, samples=(*there.samples, *metric.samples))
    return found


def labelled(metric: Metric, label: str, value: str) -> Metric:
    """``metric`` with one label more.

    Raises:
        ValueError: it has that label.
    """
    if any(label in sample.labels for sample in metric.samples):
        raise ValueError(f"{metric.name} has a label {label!r} of its own, which is the exporters'")
    samples = tuple(Sample(sample.value, {**sample.labels, label: value}) for sample in metric.samples)
    return replace(metric, samples=samples)


def _named(metric: Metric, name: str) -> Metric:
    return labelled(metric, "name", name)
