"""For Prometheus: the numbers in its formats, by ``prometheus_client``.

>>> REGISTRY.register(Collector(metrics))          # beside what an application counts there itself
>>> content_type, body = exposition(metrics.collect(), accept=request.headers.get("accept", ""))

``MetricsMiddleware(path="/metrics")`` does the second for all processes of a server, which the first cannot.
"""

from collections.abc import Iterable, Iterator

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector as BaseCollector
    from prometheus_client.utils import floatToGoString
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("prometheus", needed_by="scalekit.ops.prometheus") from None

from scalekit.metrics import Distribution, Metric
from scalekit.ops.collecting import Metrics


class Collector(BaseCollector):
    """The numbers of this process for a registry of ``prometheus_client``.

    Args:
        metrics: what reports.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """The numbers of this moment."""
        return map(family, self._metrics.collect())


class _Told(BaseCollector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


def exposition(metrics: Iterable[Metric], *, accept: str = "") -> tuple[str, bytes]:
    """``metrics`` as a scrape wants them.

    Args:
        metrics: such as :meth:`Metrics.collect` gives.
        accept: the header of that name: text, or OpenMetrics for who asks for it.

    Returns:
        The content type and the body.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told([family(metric) for metric in metrics]))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


def family(metric: Metric) -> Family:
    """One metric as ``prometheus_client`` has it."""
    labels = tuple(metric.samples[0].labels) if metric.samples else ()
    made: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if metric.kind == "histogram":
        made = HistogramMetricFamily(metric.name, metric.help, labels=labels)
    elif metric.kind == "counter":
        made = CounterMetricFamily(metric.name, metric.help, labels=labels)
    else:
        made = GaugeMetricFamily(metric.name, metric.help, labels=labels)
    for sample in metric.samples:
        values = [sample.labels[label] for label in labels]
        if isinstance(made, HistogramMetricFamily):
            assert isinstance(sample.value, Distribution)
            buckets = [(_go(bound), float(count)) for bound, count in sample.value.buckets]
            made.add_metric(values, buckets, sample.value.sum)
        else:
            assert not isinstance(sample.value, Distribution)
            made.add_metric(values, sample.value)
    return made


def _go(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
