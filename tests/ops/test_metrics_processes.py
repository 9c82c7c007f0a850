"""Servers with several processes: a scrape of whichever one tells the numbers of all."""

import contextlib
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import plain
from tests.ops.child import Child, child, wait_until
from tests.servers.ports import free_port

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.slow

APP, WSGI = "tests.ops.metrics_app:app", "tests.ops.metrics_app:wsgi"
# By itself it takes another process for one that has had no turn for five seconds.
UVICORN = ["uvicorn", "--timeout-worker-healthcheck", "60"]
SERVERS = {
    "uvicorn": [*UVICORN, APP, "--workers", "2", "--log-level", "warning", "--port"],
    "gunicorn": ["gunicorn", WSGI, "-w", "2", "-k", "gthread", "--log-level", "warning", "-b"],
    "gunicorn --preload": ["gunicorn", WSGI, "-w", "2", "--preload", "--log-level", "warning", "-b"],
    "gunicorn of uvicorn": ["gunicorn", APP, "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b"],
    "hypercorn": ["hypercorn", APP, "--workers", "2", "--log-level", "warning", "-b"],
    "granian": ["granian", APP, "--interface", "asgi", "--workers", "2", "--log-level", "warning", "--port"],
    "granian of WSGI": ["granian", WSGI, "--interface", "wsgi", "--workers", "2", "--port"],
}


@contextlib.contextmanager
def running(server: str, folder: Path) -> Iterator[tuple[Child, str]]:
    """A server with two processes, and its address."""
    module, *options = SERVERS[server]
    for needed in (module, *(["uvicorn_worker"] if "uvicorn_worker" in " ".join(options) else [])):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    port = free_port()
    address = f"127.0.0.1:{port}" if options[-1] == "-b" else str(port)
    env = {**os.environ, "TMPDIR": str(folder)}
    with child("-m", module, *options, address, env=env) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: plain.answers(url), f"{server} answers")
        try:
            yield process, url
        finally:
            process.send(signal.SIGTERM)  # the children of one that is killed may stay
            process.process.wait(60)


def pid(url: str) -> str:
    return plain.request("GET", url).text


def scrape(url: str, name: str) -> dict[str, float]:
    """The samples of a metric, by process."""
    response = plain.request("GET", f"{url}/metrics")
    assert response.status_code == 200, response.text
    return {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == name and sample.labels.get("method") in (None, "GET")
    }


@pytest.mark.parametrize("server", SERVERS)
def test_a_scrape_tells_the_numbers_of_all_processes(
    server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whichever process is asked, the sum is all requests that were answered; none is counted twice."""
    folder = Path(os.path.realpath(tmp_path_factory.mktemp("m")))
    with running(server, folder) as (_, url):
        pids, asked = set[str](), 1  # to see whether it answers

        def both() -> bool:
            nonlocal asked
            pids.add(pid(url))
            asked += 1
            return len(pids) == 2

        def all_counted() -> bool:
            return sum(scrape(url, "scalekit_http_requests_total").values()) == asked

        wait_until(both, "both processes have answered")
        wait_until(all_counted, "the last one is counted, which is after its answer")
        for _ in range(4):
            requests = scrape(url, "scalekit_http_requests_total")
            assert requests.keys() == pids
            assert sum(requests.values()) == asked
            assert scrape(url, "scalekit_process_up") == dict.fromkeys(pids, 1)
            assert scrape(url, "shop_loaded_total") == dict.fromkeys(pids, 1)
