"""For OpenTelemetry: the numbers as observable instruments of a meter.

>>> instrument(metrics, get_meter("shop"))

Each process exports for itself, and its resource says which one it is (``service.instance.id``): nothing has
to be put together here.
"""

from collections.abc import Callable, Iterable, Iterator

try:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("opentelemetry", needed_by="scalekit.ops.opentelemetry") from None

from scalekit.metrics import Distribution, Sample
from scalekit.ops.collecting import Metrics

_UNITS = {"_seconds": "s", "_bytes": "By"}


def instrument(metrics: Metrics, meter: Meter) -> None:
    """Have ``meter`` observe all that ``metrics`` has; what is added to it later is not seen.

    There is no observable histogram. One becomes what Prometheus makes of it: the counters ``_bucket``, with
    the bound in ``le``, ``_count`` and ``_sum``.

    Args:
        metrics: what reports.
        meter: of any provider.
    """
    for metric in metrics.collect():
        if metric.kind == "histogram":
            for suffix, observe in (("_bucket", _buckets), ("_count", _count), ("_sum", _sum)):
                unit = _unit(metric.name) if suffix == "_sum" else "1"
                callbacks = [_callback(metrics, metric.name, observe)]
                meter.create_observable_counter(metric.name + suffix, callbacks, unit, metric.help)
        else:
            callbacks, unit = [_callback(metrics, metric.name, _number)], _unit(metric.name)
            if metric.kind == "counter":
                meter.create_observable_counter(metric.name, callbacks, unit, metric.help)
            else:
                meter.create_observable_gauge(metric.name, callbacks, unit, metric.help)


def _callback(
    metrics: Metrics, name: str, observe: Callable[[Sample], Iterator[Observation]]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def callback(options: CallbackOptions) -> Iterable[Observation]:
        found = (metric for metric in metrics.collect() if metric.name == name)
        return [seen for metric in found for sample in metric.samples for seen in observe(sample)]

    return callback


def _number(sample: Sample) -> Iterator[Observation]:
    assert not isinstance(sample.value, Distribution)
    yield Observation(sample.value, dict(sample.labels))


def _buckets(sample: Sample) -> Iterator[Observation]:
    assert isinstance(sample.value, Distribution)
    for bound, count in sample.value.buckets:
        yield Observation(count, {**sample.labels, "le": f"{bound:g}" if bound < float("inf") else "+Inf"})


def _count(sample: Sample) -> Iterator[Observation]:
    assert isinstance(sample.value, Distribution)
    yield Observation(sample.value.buckets[-1][1], dict(sample.labels))


def _sum(sample: Sample) -> Iterator[Observation]:
    assert isinstance(sample.value, Distribution)
    yield Observation(sample.value.sum, dict(sample.labels))


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "1")
