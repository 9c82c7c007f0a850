"""What is reported, put together, and how it reads in Prometheus and OpenTelemetry."""

import logging
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal

import pytest

from scalekit._tally import Histogram
from scalekit.errors import ConfigurationError
from scalekit.metrics import Distribution, Metric, Sample, counter, counters, gauge
from scalekit.ops import Metrics
from scalekit.ops import _metrics_json as wire


class Thing:
    """Something that reports what it is given."""

    def __init__(self, *metrics: Metric) -> None:
        self.own = metrics

    def metrics(self) -> Iterable[Metric]:
        return self.own


def by_name(metrics: Metrics) -> dict[str, Metric]:
    found = metrics.collect()
    assert len({metric.name for metric in found}) == len(found)
    return {metric.name: metric for metric in found}


def test_two_of_a_kind_are_one_metric_with_two_names() -> None:
    """Each object's samples have its name; whatever has none, such as the requests, has no such label."""
    metrics = Metrics({"a": Thing(counter("hits", "H.", 1))})
    metrics.add("b", Thing(counter("hits", "H.", 2), counters("gone", "G.", {"x": 3}, label="l")))
    found = by_name(metrics)
    assert found["hits"].samples == (Sample(1, {"name": "a"}), Sample(2, {"name": "b"}))
    assert found["gone"].samples == (Sample(3, {"l": "x", "name": "b"}),)
    assert found["scalekit_http_in_flight"].samples == (Sample(0, {}),)


def test_one_that_fails_takes_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, counted each time, and all of its numbers are left out: a half would mislead."""

    class Broken:
        def metrics(self) -> Iterator[Metric]:
            yield counter("of_broken", "B.", 1)
            raise RuntimeError("boom")

    metrics = Metrics({"broken": Broken(), "fine": Thing(counter("hits", "H.", 1))})
    with caplog.at_level(logging.ERROR, "scalekit.ops"):
        metrics.collect()
        found = by_name(metrics)
    assert found["scalekit_metrics_failures"].samples == (Sample(2, {"name": "broken"}),)
    assert "hits" in found
    assert "of_broken" not in found
    assert len(caplog.records) == 1


_SAID = {
    "no number": gauge("of_broken", "B.", None),  # type: ignore[arg-type]
    "a text": gauge("of_broken", "B.", "many"),  # type: ignore[arg-type]
    "too large": gauge("of_broken", "B.", 10**400),
    "a name with a line": gauge("of broken\n", "B.", 1),
    "a label with a dash": counters("of_broken", "B.", {"x": 1}, label="a-b"),
    "half of a character": counters("of_broken", "B.", {"\udc80": 1}, label="l"),
    "no help": gauge("of_broken", None, 1),  # type: ignore[arg-type]
    "no kind": Metric("of_broken", "summary", "B.", (Sample(1),)),  # type: ignore[arg-type]
    "other labels": Metric("of_broken", "gauge", "B.", (Sample(1, {"a": "x"}), Sample(1, {"b": "x"}))),
    "no distribution": Metric("of_broken", "histogram", "B.", (Sample(1),)),
    "no number but one": Metric("of_broken", "gauge", "B.", (Sample(Distribution(((math.inf, 1),), 1)),)),
    "no buckets": Metric("of_broken", "histogram", "B.", (Sample(Distribution((), 1)),)),
    "something else": 5,
}


@pytest.mark.parametrize("said", _SAID.values(), ids=_SAID)
def test_what_cannot_be_written_takes_nothing_from_the_others(said: Metric) -> None:
    """A scrape goes on without it, and so does what is told to other processes."""
    metrics = Metrics({"broken": Thing(said), "fine": Thing(counter("hits", "H.", 1))})
    found = metrics.collect()
    assert {metric.name for metric in found} >= {"hits", "scalekit_metrics_failures"}
    assert found[-1].samples == (Sample(1, {"name": "broken"}),)
    assert wire.load(wire.dump(found)) == found
    pytest.importorskip("prometheus_client")
    from scalekit.ops.prometheus import exposition

    assert b'hits_total{name="fine"} 1.0' in exposition(found)[1]


def test_numbers_of_other_types_are_numbers() -> None:
    """A sum of a database is a Decimal, and labels may be numbers."""
    told = counters("hits", "H.", {7: Decimal("1.5")}, label="shard")  # type: ignore[dict-item]
    found = by_name(Metrics({"a": Thing(told)}))
    assert found["hits"].samples == (Sample(1.5, {"shard": "7", "name": "a"}),)
    assert wire.load(wire.dump(found.values())) == list(found.values())


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'[["a", "gauge", "A.", [[1%s, {}]]]]' % (b"0" * 400),
        b'[["a", "gauge", "A.", [[1, 5]]]]',
    ],
)
def test_what_is_no_metric_of_a_process(data: bytes) -> None:
    """Whatever another process says, it is whole or a ValueError, which counts it as down."""
    with pytest.raises(ValueError, match=r"."):
        wire.load(data)


@pytest.mark.parametrize(
    "other",
    [
        gauge("hits", "H.", 1),
        counters("hits", "H.", {"x": 1}, label="l"),
        counters("fine", "F.", {"x": 1}, label="name"),
    ],
    ids=["another kind", "other labels", "our label"],
)
def test_one_that_contradicts_is_left_out(other: Metric) -> None:
    """Prometheus would refuse the whole scrape for it."""
    metrics = Metrics({"first": Thing(counter("hits", "H.", 1)), "other": Thing(other)})
    found = by_name(metrics)
    assert found["hits"].samples == (Sample(1, {"name": "first"}),)
    assert found["scalekit_metrics_failures"].samples == (Sample(1, {"name": "other"}),)


def test_what_does_not_report_is_refused() -> None:
    """A mistake is told at start-up, with the name that it was given under."""
    with pytest.raises(ConfigurationError, match="metrics of 'cache' must be an object with a method"):
        Metrics({"cache": object()})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match="of= must be a dict"):
        Metrics([Thing()])  # type: ignore[arg-type]
    metrics, thing = Metrics(), Thing()
    metrics.add("one", thing)
    metrics.add("one", thing)  # once more is the same
    with pytest.raises(ConfigurationError, match="two objects are to be measured as 'one'"):
        metrics.add("one", Thing())
    with pytest.raises(ConfigurationError, match="the name"):
        metrics.add("", thing)


def sizes() -> Histogram:
    histogram = Histogram("took_seconds", "T.", bounds=[0.1, 1])
    for size in (0.05, 0.5, 5):
        histogram.observe(size)
    return histogram


def test_processes_tell_each_other_all_there_is() -> None:
    """What was dumped is loaded as it was, infinity included; anything else is refused."""
    metrics = [sizes().metric(), counters("a", "A.", {"x": 1.5}, label="l"), gauge("b", "B.", 2)]
    assert wire.load(wire.dump(metrics)) == metrics
    for bad in (b"", b"{}x", b"[1]", b'[["a"]]', wire.dump(metrics)[:-5]):
        with pytest.raises(ValueError):
            wire.load(bad)


REPORTING = Thing(
    counters("shop_orders", "Orders, by kind.", {'new\n"one"': 3, "old": 1}, label="kind"),
    gauge("shop_queue_seconds", "Age.", 1.5),
    sizes().metric(),
    Metric("shop_nothing", "counter", "Nothing yet.", ()),
)


def test_prometheus_reads_what_is_exposed() -> None:
    """Its own parser finds every kind, value and label again, in both of its formats."""
    pytest.importorskip("prometheus_client")
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
    from prometheus_client.parser import text_string_to_metric_families as read

    from scalekit.ops.prometheus import exposition

    metrics = Metrics({"shop": REPORTING})
    content_type, body = exposition(metrics.collect())
    assert content_type.startswith("text/plain; version=0.0.4")
    wanted = {
        ("shop_orders_total", ("kind", 'new\n"one"'), ("name", "shop")): 3,
        ("shop_orders_total", ("kind", "old"), ("name", "shop")): 1,
        ("shop_queue_seconds", ("name", "shop")): 1.5,
        ("took_seconds_bucket", ("le", "0.1"), ("name", "shop")): 1,
        ("took_seconds_bucket", ("le", "1.0"), ("name", "shop")): 2,
        ("took_seconds_bucket", ("le", "+Inf"), ("name", "shop")): 3,
        ("took_seconds_count", ("name", "shop")): 3,
        ("took_seconds_sum", ("name", "shop")): 5.55,
    }
    content_type, opened = exposition(metrics.collect(), accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    for families in (list(read(body.decode())), list(read_open(opened.decode()))):
        kinds = {family.name: family.type for family in families}
        assert (kinds["shop_orders"], kinds["took_seconds"]) == ("counter", "histogram")
        found = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        assert {key: found[key] for key in wanted} == wanted


def test_a_registry_takes_the_collector_beside_other_metrics() -> None:
    """An application that has a registry already gets our numbers in it."""
    prometheus_client = pytest.importorskip("prometheus_client")
    from scalekit.ops.prometheus import Collector

    registry = prometheus_client.CollectorRegistry(auto_describe=True)
    prometheus_client.Counter("own", "Own.", registry=registry).inc()
    registry.register(Collector(Metrics({"shop": REPORTING})))
    assert registry.get_sample_value("shop_orders_total", {"kind": "old", "name": "shop"}) == 1
    assert registry.get_sample_value("own_total") == 1


def test_opentelemetry_observes_the_same() -> None:
    """Its SDK reads the numbers of the moment, with units, and what a histogram has as counters."""
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum

    from scalekit.ops.opentelemetry import instrument

    metrics, reader = Metrics({"shop": REPORTING}), InMemoryMetricReader()
    provider = MeterProvider([reader])
    instrument(metrics, provider.get_meter("shop"))
    began = metrics.traffic.begin(None)
    metrics.traffic.end(began, "GET", 204)
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    points = {
        (name, *sorted((point.attributes or {}).items())): getattr(point, "value", None)
        for name, metric in found.items()
        for point in metric.data.data_points
    }
    orders = found["shop_orders"]
    assert isinstance(orders.data, Sum)
    assert orders.data.is_monotonic
    assert found["shop_queue_seconds"].unit == "s"
    assert points["shop_orders", ("kind", "old"), ("name", "shop")] == 1
    assert points["shop_queue_seconds", ("name", "shop")] == 1.5
    assert points["took_seconds_bucket", ("le", "+Inf"), ("name", "shop")] == 3
    assert points["took_seconds_bucket", ("le", "0.1"), ("name", "shop")] == 1
    assert math.isclose(points["took_seconds_sum", ("name", "shop")] or 0, 5.55)
    assert points["scalekit_http_requests", ("method", "GET"), ("status", "2xx")] == 1
    provider.shutdown()


def test_a_distribution_is_one_even_when_nothing_was_seen() -> None:
    """Every bucket is there, with 0: what appears with a 1 has not risen."""
    value = Histogram("h", "H.", bounds=[1]).metric().samples[0].value
    assert value == Distribution(((1, 0), (math.inf, 0)), 0)
