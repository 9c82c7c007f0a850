"""`scalekit switches` as a person and a program meet it."""

import json
import threading
import time

import pytest
import redis

from scalekit.cli import main
from scalekit.ops.switches import Switches
from tests.faults import freeze
from tests.servers import RedisServer


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["switches", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_flip_and_show(redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is flipped is shown at once, and all servers of that name see it."""
    where = ["--redis", redis_url, "--name", prefix]
    off = [
        {"switch": "read-only", "value": "off", "seconds_left": None},
        {"switch": "cache-factor", "value": "1", "seconds_left": None},
    ]
    assert run(capsys, "show", *where) == off
    on, factor = run(capsys, "set", "read-only", "on", "--for", "15m", *where)
    assert on["value"] == "on"
    assert 0 < float(str(on["seconds_left"])) <= 900
    assert factor == off[1]
    run(capsys, "set", "cache-factor", "4.5", *where)
    switches = Switches.from_url(redis_url, name=prefix, timeout=30, connect_timeout=30)
    assert {name: switch.value for name, switch in switches.look().items()} == {
        "read-only": 1.0, "cache-factor": 4.5,
    }  # fmt: skip
    switches.close()
    run(capsys, "set", "read-only", "off", *where)
    assert run(capsys, "set", "cache-factor", "1", *where) == off


def test_for_people(
    redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table; the URL may come from the environment, where no list of processes shows it."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert main(["switches", "set", "cache-factor", "4", "--name", prefix]) == 0
    output, errors = capsys.readouterr()
    assert [line.split() for line in output.splitlines()] == [
        ["switch", "value", "for"],
        ["read-only", "off"],
        ["cache-factor", "4", "until", "flipped"],
    ]
    assert errors == ""


def test_a_key_that_holds_something_else(
    redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be known is not shown as off, and is told with its cure; the other can be flipped."""
    where = ["--redis", redis_url, "--name", prefix]
    client = redis.Redis.from_url(redis_url)
    client.lpush(f"{{{prefix}}}:read-only", "not", "text")
    client.close()
    assert main(["switches", "set", "cache-factor", "4", *where]) == 0
    assert "read-only     unknown" in capsys.readouterr().out
    assert main(["switches", "show", "--json", *where]) == 1
    output, errors = capsys.readouterr()
    assert [json.loads(line)["value"] for line in output.splitlines()] == [None, "4"]
    assert "scalekit switches set read-only off mends that" in errors
    assert run(capsys, "set", "read-only", "off", *where)[0]["value"] == "off"


@pytest.mark.slow
def test_a_redis_that_takes_its_time(prefix: str) -> None:
    """Whoever flips a switch does so when servers are busy: an answer after more than a second is one."""
    with RedisServer() as server:
        frozen = threading.Event()

        def take_time() -> None:
            with freeze(server):
                frozen.set()
                time.sleep(1.5)

        thread = threading.Thread(target=take_time)
        thread.start()
        assert frozen.wait(60)
        assert main(["switches", "set", "read-only", "on", "--redis", server.url, "--name", prefix]) == 0
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "status", "cure"),
    [
        (["show"], 2, "Give --redis URL, or set REDIS_URL"),
        (["set", "read-only", "yes", "--redis", "redis://127.0.0.1:1"], 2, "on or off, not 'yes'"),
        (["set", "cache-factor", "x", "--redis", "redis://127.0.0.1:1"], 2, "a number, such as 4"),
        (["set", "cache-factor", "0", "--redis", "redis://127.0.0.1:1"], 2, "1000 at most"),
        (["show", "--redis", "redis://user:secret@127.0.0.1:1"], 1, "127.0.0.1:1"),
    ],
)
def test_mistakes(
    arguments: list[str],
    status: int,
    cure: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake ends with 2, a Redis that is away with 1; no message has a password."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert main(["switches", *arguments]) == status
    error = capsys.readouterr().err
    assert cure in error
    assert "secret" not in error
