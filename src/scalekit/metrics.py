"""How a piece tells what happened to it: the one interface that all of them share.

A piece counts for itself, and has a method ``metrics()`` that gives the numbers of this moment. Nothing is
sent anywhere and nothing is global: whoever wants the numbers asks the objects it was given. The exporters in
:mod:`scalekit.ops` do, and an application's own objects can report the same way::

    class Queue:
        def metrics(self) -> Iterable[Metric]:
            yield counter("shop_orders", "Orders taken.", self.taken)
            yield counters("shop_mails", "Mails, by kind.", {"order": 3, "reminder": 1}, label="kind")
            yield gauge("shop_queue_seconds", "Age of the oldest order.", self.age())

Rules:

* Names follow the conventions of Prometheus: the piece first, the base unit last (``_seconds``, ``_bytes``),
  no ``_total``, which an exporter adds where its format has it.
* An object gives the same metrics each time, without samples where there is nothing to say yet.
* The labels ``name`` and ``process`` are the exporters': which of several caches it is, and in which process.
* Values of labels are few, whatever visitors do: no paths, no keys, no users.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often each size was seen.

    Args:
        buckets: upper bounds, ascending and ending with infinity, each with how many were at most that.
        sum: of all that was seen.
    """

    buckets: tuple[tuple[float, int], ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, or one distribution, and what it belongs to."""

    value: float | Distribution
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a piece, once or once for each of its labels.

    Args:
        name: such as ``scalekit_cache_hits``.
        kind: a ``counter`` only grows, as long as the process lives; a ``gauge`` is how it stands now.
        help: a sentence of what is counted.
        samples: all with the same label names; none if there is nothing to say.
    """

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


@runtime_checkable
class Measured(Protocol):
    """Anything that reports."""

    def metrics(self) -> Iterable[Metric]:
        """The numbers of this moment. Quick, and without I/O; may be called in any thread."""
        ...


def counter(name: str, help: str, value: float) -> Metric:
    """A counter without labels."""
    return Metric(name, "counter", help, (Sample(value),))


def gauge(name: str, help: str, value: float) -> Metric:
    """A gauge without labels."""
    return Metric(name, "gauge", help, (Sample(value),))


def counters(name: str, help: str, values: Mapping[str, float], *, label: str) -> Metric:
    """A counter for each value of one label."""
    return _labelled(name, "counter", help, values, label)


def gauges(name: str, help: str, values: Mapping[str, float], *, label: str) -> Metric:
    """A gauge for each value of one label."""
    return _labelled(name, "gauge", help, values, label)


def _labelled(name: str, kind: Kind, help: str, values: Mapping[str, float], label: str) -> Metric:
    samples = tuple(Sample(number, {label: value}) for value, number in values.items())
    return Metric(name, kind, help, samples)
