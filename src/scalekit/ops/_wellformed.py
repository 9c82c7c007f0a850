"""Whether a metric is what :mod:`scalekit.metrics` says. Pure.

Objects of applications report, too, and processes of another release: one number that no exporter can write
would take all the others with it.
"""

import math
import re
from dataclasses import replace

from scalekit.metrics import Distribution, Metric, Sample

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_KINDS = ("counter", "gauge", "histogram")


def wellformed(metric: Metric) -> Metric:
    """``metric`` with plain numbers, and labels of text.

    Raises:
        ValueError: exporters could not write it.
    """
    try:
        samples = tuple(_sample(sample, metric.kind) for sample in metric.samples)
        names = [metric.name, *(label for sample in samples for label in sample.labels)]
        good = metric.kind in _KINDS and all(_NAME.fullmatch(name) for name in names)
        metric.help.encode()
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"no metric can be like that: {error}") from error
    if not good or len({frozenset(sample.labels) for sample in samples}) > 1:
        raise ValueError(f"{metric.name!r:.100} has a name, a kind or labels that no metric can have")
    return replace(metric, samples=samples)


def _sample(sample: Sample, kind: str) -> Sample:
    labels = {name: str(value) for name, value in sample.labels.items()}
    "".join(labels.values()).encode()
    value = sample.value
    if isinstance(value, Distribution) != (kind == "histogram"):
        raise ValueError(f"a {kind} cannot be {value!r:.100}")
    if not isinstance(value, Distribution):
        return Sample(float(value), labels)
    buckets = tuple((float(bound), int(count)) for bound, count in value.buckets)
    if not buckets or buckets[-1][0] != math.inf:
        raise ValueError("a histogram's buckets end with infinity")
    return Sample(Distribution(buckets, float(value.sum)), labels)
