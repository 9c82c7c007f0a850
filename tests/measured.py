"""What an object reports, for tests to look at."""

from scalekit.metrics import Distribution, Measured


def numbers(thing: object) -> dict[str, float]:
    """Each number by its name, and its labels' values if it has any: ``"scalekit_cache_hits local"``.

    A distribution is how many were seen. Names that appear twice, and samples of one metric with different
    labels, fail.
    """
    assert isinstance(thing, Measured)
    found: dict[str, float] = {}
    names = set()
    for metric in thing.metrics():
        assert metric.name.startswith("scalekit_"), metric
        assert metric.help.endswith("."), metric
        assert metric.name not in names, metric
        names.add(metric.name)
        assert len({tuple(sample.labels) for sample in metric.samples}) <= 1, metric
        for sample in metric.samples:
            assert not {"name", "process", "le"} & sample.labels.keys(), metric
            value = sample.value
            number = value.buckets[-1][1] if isinstance(value, Distribution) else value
            found[" ".join([metric.name, *sample.labels.values()])] = number
    return found


def risen(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """By how much each number is another one than before."""
    return {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
