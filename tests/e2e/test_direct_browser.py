"""examples/storage_direct in a real browser, whose files go to a real S3 server on another origin."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scalekit.storage import MiB
from tests import plain
from tests.ops.child import ROOT, child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"
PATIENCE = 60_000.0  # milliseconds


def photo(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(PNG + random.Random(name).randbytes(size - len(PNG)))
    return path


@contextmanager
def running(s3_server: Any, bucket: str, change: Callable[[dict[str, Any]], object] = bool) -> Iterator[str]:
    """The example, and its bucket with the CORS rule that it prints, changed."""
    import boto3

    port, options = free_port(), s3_server.client_kwargs
    url = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "PORT": str(port),
        "PART_SIZE": str(5 * MiB),
        "S3_BUCKET": bucket,
        "AWS_ENDPOINT_URL": options["endpoint_url"],
        "AWS_DEFAULT_REGION": options["region_name"],
        "AWS_ACCESS_KEY_ID": options["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": options["aws_secret_access_key"],
    }
    printing = [sys.executable, "-m", "examples.storage_direct", "cors", url]
    rules = json.loads(subprocess.run(printing, cwd=ROOT, env=env, capture_output=True, check=True).stdout)
    change(rules["CORSRules"][0])
    boto3.client("s3", **options).put_bucket_cors(Bucket=bucket, CORSConfiguration=rules)
    with child("-m", "examples.storage_direct", env=env):
        wait_until(lambda: plain.answers(url), "the example")
        yield url


def stored(s3_server: Any, bucket: str) -> set[bytes]:
    """The contents of all objects; no upload is left unfinished."""
    import boto3

    client = boto3.client("s3", **s3_server.client_kwargs)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def rows(page: Any, text: str, count: int) -> None:
    """Wait until so many rows say ``text``."""
    page.wait_for_function(
        "([text, count]) => [...document.querySelectorAll('output')]"
        ".filter((output) => output.value.includes(text)).length === count",
        arg=[text, count],
        timeout=PATIENCE,
    )


def number_of(request: Any) -> int | None:
    """The number of the part that is sent, if it is one."""
    found = re.search(r"[?&]partNumber=(\d+)", request.url)
    return int(found[1]) if found and request.method == "PUT" else None


@pytest.mark.timeout(240)
def test_three_ways(browser: Any, s3_server: Any, bucket: str, tmp_path: Path, artifacts: Path) -> None:
    """19. By a form, by PUT and in parts files arrive byte for byte, and the bar shows it; HTML does not."""
    files = [
        photo(tmp_path, "small.png", 200_000),
        photo(tmp_path, "middling.png", 3 * MiB),
        photo(tmp_path, "large.png", 11 * MiB),
    ]
    disguised = tmp_path / "disguised.png"
    disguised.write_bytes(b"<!doctype html><script>alert(1)</script>".ljust(9 * MiB))
    complaints: list[str] = []
    with running(s3_server, bucket) as url:
        page = browser.new_page(viewport={"width": 800, "height": 760})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        page.set_input_files("input", [*files, disguised])
        rows(page, "Done", 3)
        rows(page, "text/html", 1)
        notes = page.locator("small").all_inner_texts()
        assert [note.rpartition(", ")[2] for note in notes] == ["form", "put", "3 parts", "2 parts"]
        bars = page.locator("progress").evaluate_all("bars => bars.map((bar) => bar.value)")
        assert bars == [1, 1, 1, 1]
        page.screenshot(path=artifacts / "direct-done.png")
        page.close()
    assert complaints == []
    assert stored(s3_server, bucket) == {path.read_bytes() for path in files}


@pytest.mark.timeout(240)
def test_pause_and_go_on(browser: Any, s3_server: Any, bucket: str, tmp_path: Path, artifacts: Path) -> None:
    """19. A paused upload goes on after a reload with what is missing, also over a connection that breaks."""
    file = photo(tmp_path, "large.png", 26 * MiB)
    held: list[Any] = []
    finished: set[int | None] = set()
    tried: list[int | None] = []
    with running(s3_server, bucket) as url:
        page = browser.new_page(viewport={"width": 800, "height": 480})
        page.route(re.compile("partNumber=4&"), lambda route: held.append(route))
        page.on("requestfinished", lambda request: finished.add(number_of(request)))
        page.goto(url)
        page.set_input_files("input", file)
        wait_for(page, lambda: {1, 2, 3, 5, 6} <= finished)
        assert held
        page.get_by_role("button", name="Pause").click()
        rows(page, "Paused", 1)
        page.screenshot(path=artifacts / "direct-paused.png")
        page.unroute_all(behavior="ignoreErrors")

        def once(route: Any) -> None:
            tried.append(number_of(route.request))
            route.abort("connectionreset") if len(tried) == 1 else route.continue_()

        page.route(re.compile("partNumber="), once)
        page.reload()
        page.set_input_files("input", file)
        rows(page, "Done", 1)
        page.close()
    assert tried == [4, 4]
    assert stored(s3_server, bucket) == {file.read_bytes()}


@pytest.mark.timeout(240)
def test_cancelled(browser: Any, s3_server: Any, bucket: str, tmp_path: Path) -> None:
    """19. What is cancelled leaves no row, no object and no part."""
    file = photo(tmp_path, "large.png", 11 * MiB)
    held: list[Any] = []
    with running(s3_server, bucket) as url:
        page = browser.new_page()
        page.route(re.compile("partNumber=2&"), lambda route: held.append(route))
        page.goto(url)
        page.set_input_files("input", file)
        wait_for(page, lambda: len(held) > 0)
        with page.expect_response(lambda answer: answer.request.method == "DELETE", timeout=PATIENCE):
            page.get_by_role("button", name="Cancel").click()
        # The page hears of the answer after we do.
        wait_for(page, lambda: page.locator("li").count() == 0)
        page.close()
    assert stored(s3_server, bucket) == set()


@pytest.mark.timeout(240)
def test_a_bucket_that_hides_etags(
    browser: Any, s3_server: Any, bucket: str, tmp_path: Path, artifacts: Path
) -> None:
    """A page that cannot read ETag, because of the bucket's CORS rule, says so and what to do."""
    with running(s3_server, bucket, lambda rule: rule.pop("ExposeHeaders")) as url:
        page = browser.new_page(viewport={"width": 800, "height": 480})
        page.goto(url)
        page.set_input_files("input", photo(tmp_path, "large.png", 9 * MiB))
        rows(page, "ExposeHeaders", 1)
        page.screenshot(path=artifacts / "direct-hidden-etag.png")
        page.close()


def wait_for(page: Any, condition: Callable[[], bool]) -> None:
    """Let the browser go on until ``condition`` holds."""
    waited = 0.0
    while not condition():
        assert waited < PATIENCE, "this does not come to pass"
        page.wait_for_timeout(50)
        waited += 50
