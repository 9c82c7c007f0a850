"""Metrics as bytes, from one process to another of the same server. Pure."""

import json
from collections.abc import Iterable
from typing import Any

from scalekit.metrics import Distribution, Metric, Sample
from scalekit.ops._wellformed import wellformed


def dump(metrics: Iterable[Metric]) -> bytes:
    """``metrics`` for :func:`load`."""
    return json.dumps([_plain(metric) for metric in metrics]).encode()


def load(data: bytes) -> list[Metric]:
    """What :func:`dump` was given.

    Raises:
        ValueError: it is not whole, or something else's.
    """
    try:
        return [wellformed(_metric(*plain)) for plain in json.loads(data)]
    except (TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError("these are no metrics of ours") from error


def _plain(metric: Metric) -> tuple[Any, ...]:
    samples = [(_number(sample.value), dict(sample.labels)) for sample in metric.samples]
    return metric.name, metric.kind, metric.help, samples


def _number(value: float | Distribution) -> Any:
    return [value.sum, value.buckets] if isinstance(value, Distribution) else value


def _metric(name: str, kind: Any, help: str, samples: list[tuple[Any, dict[str, str]]]) -> Metric:
    return Metric(name, kind, help, tuple(Sample(_value(value), labels) for value, labels in samples))


def _value(plain: Any) -> float | Distribution:
    if not isinstance(plain, list):
        return float(plain)
    total, buckets = plain
    return Distribution(tuple((float(bound), int(count)) for bound, count in buckets), float(total))
