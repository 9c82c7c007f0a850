"""scalekit doctor, as people, as programs and as continuous integration see it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scalekit.cli import main
from tests.cli.command import environment, scalekit, start
from tests.servers import wait_until
from tests.servers.ports import free_port, is_served

SHOP = """
from fastapi import FastAPI

print("the application prints this")
app = FastAPI(debug={debug})
carts = {{}}

@app.post("/cart")
def add():
    carts["a"] = 1
    return {{}}

def create():
    return app
"""


def shop(folder: Path, name: str, *, debug: bool = True, text: str = SHOP) -> str:
    """A file of its own name: modules are imported once a process."""
    path = folder / f"{name}.py"
    path.write_text(text.format(debug=debug))
    return str(path)


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The worst first, each with its cure and a link; what was not looked at; a count. Status 1."""
    assert main(["doctor", f"{shop(tmp_path, 'doctor_text')}:app"]) == 1
    output, errors = capsys.readouterr()
    heads = [line for line in output.splitlines() if line and line[0] != " "]
    assert heads == [
        "error: debug-on",
        "warning: drain-missing",
        "warning: process-variable",
        "not looked at:",
        "1 error, 2 warnings",
    ]
    assert output.count("  cure: ") == 3
    assert "see docs/howto/ops-doctor.md#state-of-one-process" in output
    assert errors == "the application prints this\n"


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each finding and one at the end, and nothing else, whatever the application prints."""
    assert main(["doctor", "--json", f"{shop(tmp_path, 'doctor_json')}:app"]) == 1
    *found, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["code"] for one in found] == ["debug-on", "drain-missing", "process-variable"]
    assert set(found[0]) == {"code", "severity", "what", "cure", "link", "where"}
    counts = {"done": True, "errors": 1, "warnings": 2, "notes": 0}
    assert counts.items() <= done.items()
    assert any("--url" in text for text in done["unchecked"])


def test_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where there is nothing as bad as --fail-on says, which is an error."""
    target = f"{shop(tmp_path, 'doctor_status', debug=False)}:app"
    assert [
        main(["doctor", *more, target]) for more in ([], ["--fail-on", "warning"], ["--fail-on", "never"])
    ] == [
        0,
        1,
        0,
    ]
    assert main(["doctor", "--factory", target.replace(":app", ":create")]) == 0


def test_nothing_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which is said."""
    text = "from scalekit.ops.asgi import OpsMiddleware\nasync def bare(*_): ...\napp = OpsMiddleware(bare)\n"
    assert main(["doctor", "--fail-on", "note", f"{shop(tmp_path, 'doctor_fine', text=text)}:app"]) == 0
    assert capsys.readouterr().out.endswith("nothing was found\n")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:app", "there is no module 'nowhere' here; is this the application's folder?"),
        ("nowhere.py:app", "there is no file"),
        ("json", "'json' names nothing; write it as module:app, or app.py:app"),
        ("json:app", "json has no 'app'"),
        ("sys:maxsize", "sys:maxsize is no application but an int; --factory calls what returns one"),
        ("json:__doc__", "json:__doc__ is no application but a str; --factory calls what returns one"),
        (
            "platform:uname",
            "platform:uname takes no request; is it what returns the application? Add --factory",
        ),
        ("doctor_raises.py:app", "cannot be loaded: KeyError: 'redis://***@h/0'"),
    ],
)
def test_what_cannot_be_loaded(
    target: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says what is wrong, without passwords. Status 2."""
    monkeypatch.chdir(tmp_path)
    shop(tmp_path, "doctor_raises", text="raise KeyError('redis://:hush@h/0')")
    assert main(["doctor", target]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


FACTORIES = """
import os
from flask import Flask

app = Flask("shop")
word = "text"

async def asynchronous(scope, receive, send): ...

async def later():
    return app

def configured(settings):
    return app

def nothing():
    Flask("shop")

def failing():
    return os.environ["redis://:hush@h/0"]

def mistaken():
    return Flask()

def leaving():
    raise SystemExit("no configuration")
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("app", "app cannot be called without arguments, as factories are; it may be the application itself: "
                "leave --factory out"),
        ("asynchronous", "it may be the application itself: leave --factory out"),
        ("word", "word is no factory but a str; leave --factory out"),
        ("configured", "as factories are; name a function without arguments that calls it"),
        ("later", "later is asynchronous, and nobody awaits a factory; name a plain function"),
        ("nothing", "nothing returned None; is there a return missing?"),
        ("failing", "failing failed: KeyError: 'redis://***@h/0' (in doctor_factories.py, line 20)"),
        ("mistaken", "required positional argument: 'import_name' (in doctor_factories.py, line 23)"),
        ("leaving", "leaving failed: SystemExit: no configuration (in doctor_factories.py, line 26)"),
    ],
)  # fmt: skip
def test_what_is_no_factory(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what to do; what the application's own factory raises is told with where it did."""
    monkeypatch.chdir(tmp_path)
    shop(tmp_path, "doctor_factories", text=FACTORIES)
    assert main(["doctor", "--factory", f"doctor_factories.py:{name}"]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "hush" not in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("later", "Add --factory"),
        ("nothing", "Add --factory"),
        ("configured", "name a function without arguments that calls it, with --factory"),
    ],
)
def test_a_factory_that_is_taken_for_the_application(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not looked at as an application in which nothing is found."""
    monkeypatch.chdir(tmp_path)
    shop(tmp_path, "doctor_factory", text=FACTORIES)
    assert main(["doctor", f"doctor_factory.py:{name}"]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


HANGING = """
import os, socket
from scalekit.sessions.redis import RedisStore
hanging = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", 0))))
store = RedisStore.from_url(f"redis://:hush@127.0.0.1:{{hanging.getsockname()[1]}}/0")
async def app(scope, receive, send): ...
"""


@pytest.mark.slow
def test_it_ends_though_servers_hang(tmp_path: Path) -> None:
    """A Redis that accepts and never answers costs the time-out, also at the end of the program, and is a
    finding. The password is in no output."""
    pytest.importorskip("redis")
    target = f"{shop(tmp_path, 'doctor_hangs', text=HANGING)}:app"
    status, output, errors = scalekit("doctor", "--timeout", "2", target)
    assert status == 1
    assert "error: redis-unreachable" in output
    assert "hush" not in output + errors


WAITING = """
import socket, threading, time

def connect():
    while True:
        try:
            hang()
        except Exception:
            pass

def hang():
    {how}

if {at_once}:
    print("loading", flush=True)
    connect()

class Middleware:
    def __init__(self, app):
        connect()

from starlette.applications import Starlette
from starlette.middleware import Middleware as Of
app = Starlette(middleware=[Of(Middleware)])
"""
SLEEPS = "time.sleep(600)"
CONNECTS = "socket.create_server(('127.0.0.1', 0)).accept()"
SPINS = "while True: pass"
WAITS = "threading.Lock().acquire() and 0 or [lock := threading.Lock(), lock.acquire(), lock.acquire()]"
JOINS = "thread = threading.Thread(target=time.sleep, args=(600,)); thread.start(); thread.join()"


def waiting(folder: Path, name: str, *, how: str, at_once: bool = True) -> str:
    (folder / f"{name}.py").write_text(WAITING.format(how=how, at_once=at_once))
    return f"{folder / name}.py:app"


@pytest.mark.slow
def test_it_ends_though_the_application_cannot_be_loaded(tmp_path: Path) -> None:
    """An import that never ends is told with the functions and lines that it is at, and without what is
    written in these. A status of its own."""
    # All at once, and with time enough for each to get as far as that.
    hanging = {}
    for number, how in enumerate((CONNECTS, WAITS, SPINS)):
        target = waiting(tmp_path, f"doctor_waits_{number}", how=how)
        hanging[how] = target, start("doctor", "--load-timeout", "6", target)
    for number, (how, (target, process)) in enumerate(hanging.items()):
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (3, "")
        assert f"scalekit: {target} is not loaded after 6 s; it is at" in errors
        assert f"doctor_waits_{number}.py, line 16, in <module>" in errors
        assert f"doctor_waits_{number}.py, line 7, in connect" in errors
        assert "--load-timeout gives it longer" in errors
        assert "Traceback" not in errors
        assert how not in errors


@pytest.mark.slow
def test_it_ends_though_a_middleware_cannot_be_made(tmp_path: Path) -> None:
    """Middlewares are made when the application is taken apart, and may hang as well."""
    target = waiting(tmp_path, "doctor_makes", how=SLEEPS, at_once=False)
    status, _, errors = scalekit("doctor", "--load-timeout", "6", "--timeout", "0.1", target)
    assert status == 3
    assert f"scalekit: {target} is not looked at after 6.1 s; it is at" in errors
    assert "doctor_makes.py, line 12, in hang" in errors


@pytest.mark.slow
@pytest.mark.parametrize("how", [CONNECTS, WAITS, JOINS])
def test_loading_can_be_interrupted(tmp_path: Path, how: str) -> None:
    """Ctrl-C ends it while the application hangs in its import, without a traceback; a thread that the
    application has started holds nothing up."""
    target = waiting(tmp_path, "doctor_stopped", how=how)
    process = start("doctor", "--load-timeout", "600", target)
    assert process.stderr is not None
    assert process.stderr.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "", "")


@pytest.mark.slow
def test_it_can_be_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends it while it waits, without a traceback."""
    pytest.importorskip("redis")
    port = free_port()
    target = f"{shop(tmp_path, 'doctor_interrupted', text=HANGING)}:app"
    process = start("doctor", "--timeout", "600", target, PORT=str(port))
    wait_until(lambda: is_served(port), what="the application was loaded")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "", "")


@pytest.mark.slow
def test_at_a_terminal(tmp_path: Path) -> None:
    """With colours, and within the columns that there are."""
    target = f"{shop(tmp_path, 'doctor_terminal')}:app"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "scalekit", "doctor", target],
        stdout=theirs, stderr=subprocess.DEVNULL, env=environment(TERM="xterm-256color", COLUMNS="72"),
    )  # fmt: skip
    os.close(theirs)
    parts = []
    while True:
        try:
            parts.append(os.read(ours, 65536))
        except OSError:  # how Linux says that nobody has the other end any more
            break
        if not parts[-1]:
            break
    assert process.wait() == 1
    os.close(ours)
    text = b"".join(parts).decode()
    assert "\x1b[1;31merror: debug-on" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text).replace("\r", "").splitlines()
    assert max(len(line) for line in plain if "/" not in line) <= 72
