"""The list of metrics, the dashboard and the alerts, beside what is really exported."""

import json
import re
from typing import Any

import pytest

from scalekit.metrics import Metric
from tests.docs.blocks import ROOT, blocks
from tests.docs.reporting import everything

PAGE = ROOT / "docs/howto/ops-metrics.md"
DASHBOARD = ROOT / "docs/_static/grafana-scalekit.json"
ROW = re.compile(r"^\| `(scalekit_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
OF_TARGETS = {"instance", "job"}  # which Prometheus adds to whatever it scrapes


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Metric]:
    """What everything together reports."""
    return {metric.name: metric for metric in everything(tmp_path_factory.mktemp("m"))}


def names_in_prometheus(metric: Metric) -> list[str]:
    if metric.kind == "histogram":
        return [f"{metric.name}_{suffix}" for suffix in ("bucket", "count", "sum")]
    return [f"{metric.name}_total" if metric.kind == "counter" else metric.name]


def labels_of(metric: Metric) -> set[str]:
    return {label for sample in metric.samples for label in sample.labels}


def test_the_page_lists_every_metric_as_it_is(exported: dict[str, Metric]) -> None:
    """Names, kinds, labels and what they mean, and none that there is not."""
    listed = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in ROW.findall(PAGE.read_text("utf-8"))
    }
    assert listed == {
        name: (metric.kind, labels_of(metric) - {"name", "process"}, metric.help.removesuffix("."))
        for name, metric in exported.items()
    }


def test_help_and_names_are_of_one_kind(exported: dict[str, Metric]) -> None:
    """A sentence each; units at the end; no `_total`, which exporters add."""
    for name, metric in exported.items():
        assert re.fullmatch(r"scalekit_[a-z]+(_[a-z]+)*", name), name
        assert metric.help[0].isupper(), name
        assert metric.help.endswith("."), name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        assert metric.samples, f"{name}: show one in tests/docs/reporting.py"


def check_query(query: str, exported: dict[str, Metric]) -> None:
    """Each metric in it exists, and has the labels that it is asked for."""
    known = {name: metric for metric in exported.values() for name in names_in_prometheus(metric)}
    asked = re.findall(r"scalekit_\w+", query)
    assert asked, query
    there = set(OF_TARGETS)
    for name in asked:
        assert name in known, f"{name} in {query}"
        there |= labels_of(known[name]) | ({"le"} if name.endswith("_bucket") else set())
    groups = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", query)
    matchers = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    wanted = {label.strip() for group in groups for label in group.split(",")} | set(matchers)
    assert wanted <= there, f"{wanted - there} in {query}"


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return loaded


def test_the_dashboard_asks_for_what_there_is(exported: dict[str, Any]) -> None:
    """Every query of every panel, and the variable that lists the jobs."""
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    for panel in panels:
        for target in panel["targets"]:
            check_query(target["expr"], exported)
            labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            kept = re.search(r"by \(([^)]*)\) \(", target["expr"])
            assert set(labels) <= set(kept[1].split(", ") if kept else ()), target
    (jobs,) = [one for one in dashboard()["templating"]["list"] if one["name"] == "job"]
    check_query(jobs["definition"], exported)
    assert jobs["definition"] == jobs["query"]["query"]


def test_the_dashboard_is_one(exported: dict[str, Any]) -> None:
    """What Grafana needs: panels with ids of their own, side by side, on the data source that is chosen."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            # Which Grafana's own schema demands; so it does of a variable's choice, where there is one.
            assert panel["options"]["legend"]["calcs"] == []
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references)
    variables = dashboard()["templating"]["list"]
    assert {one["name"] for one in variables} == {"datasource", "job"}
    assert all("current" not in one or one["current"].keys() >= {"text", "value"} for one in variables)


def test_the_dashboard_has_a_row_for_each_piece(exported: dict[str, Any]) -> None:
    """Each group of metrics is seen by somebody."""
    text = DASHBOARD.read_text("utf-8")
    groups = {name.split("_")[1] for name in exported}
    assert {group for group in groups if f"scalekit_{group}_" not in text} == {"metrics"}


def test_the_alerts_and_examples_ask_for_what_there_is(exported: dict[str, Any]) -> None:
    """In YAML and in plain text."""
    queries = [
        line.partition(": ")[2]
        for block in blocks(PAGE)
        for line in block.code.splitlines()
        if block.language == "yaml" and re.match(r"\s+(expr|query): ", line)
    ]
    queries += [block.code for block in blocks(PAGE) if block.language == "text"]
    assert len(queries) > 10
    for query in queries:
        check_query(query, exported)


def test_the_metric_of_the_scaling_policy_is_a_gauge(exported: dict[str, Any]) -> None:
    """CloudWatch averages it as it is."""
    (policy,) = [json.loads(block.code) for block in blocks(PAGE) if block.language == "json"]
    assert exported[policy["CustomizedMetricSpecification"]["MetricName"]].kind == "gauge"


def test_the_files_are_linked() -> None:
    """The page leads to the dashboard, and the dashboard is where the page says."""
    (linked,) = re.findall(r"\]\((\.\./_static/[^)]+)\)", PAGE.read_text("utf-8"))
    assert (PAGE.parent / linked).resolve() == DASHBOARD.resolve()
