"""Time-outs that do not fit each other."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from scalekit.errors import ConfigurationError
from scalekit.ops import Drain
from scalekit.ops.asgi import OpsMiddleware
from scalekit.ops.doctor import Around, examine, server
from tests.ops.doctor.apps import codes, loaded


def found(command: str, *, drain: Drain | None = None, **around: float) -> list[str]:
    app = FastAPI()
    app.add_middleware(OpsMiddleware, drain=drain or Drain(delay=5, grace=10))
    asked = Around(command=command, **around)  # type: ignore[arg-type]
    return codes(examine(loaded(app), around=asked).findings)


@pytest.mark.parametrize(
    ("command", "keep_alive"),
    [
        ("uvicorn shop:app", 5.0),
        ("python -m uvicorn shop:app --timeout-keep-alive 75", 75.0),
        ("gunicorn shop:app -k uvicorn_worker.UvicornWorker", 2.0),
        ("gunicorn shop:app --threads 8 --keep-alive=65", 65.0),
        ("gunicorn shop:app", None),  # its plain workers keep none
        ("/venv/bin/hypercorn --keep-alive 61 shop:app", 61.0),
        ("granian --interface asgi shop:app", None),
    ],
)
def test_how_long_servers_keep_connections(command: str, keep_alive: float | None, tmp_path: Path) -> None:
    """By their options, and what they do without them."""
    assert server.read(command, folder=tmp_path).keep_alive == keep_alive


def test_the_configuration_of_gunicorn(tmp_path: Path) -> None:
    """The plain numbers of its file are read, which is not run; the command line goes before it."""
    (tmp_path / "gunicorn.conf.py").write_text("keepalive = 70\nworkers = 3\nraise SystemExit\n")
    command = "gunicorn shop:app -k gthread --threads 4"
    read = server.read(command, folder=tmp_path)
    assert (read.keep_alive, read.workers) == (70.0, 3)
    assert server.read(f"{command} -w 5", folder=tmp_path).workers == 5


def test_the_worker_that_the_configuration_names(tmp_path: Path) -> None:
    """One that keeps connections, though the command line names none; the command line goes before it."""
    (tmp_path / "gunicorn.conf.py").write_text('worker_class = "asgi"\nkeepalive = 7\nthreads = "1"\n')
    assert server.read("gunicorn shop:app", folder=tmp_path).keep_alive == 7.0
    assert server.read("gunicorn shop:app -k sync", folder=tmp_path).keep_alive is None


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("waitress-serve shop:app", "--command starts none of uvicorn, gunicorn, hypercorn, granian"),
        ("uvicorn shop:app --workers many", "--workers 'many', which is no number"),
        ("uvicorn 'shop:app", "--command cannot be read"),
    ],
)
def test_a_command_that_says_nothing(command: str, said: str) -> None:
    """A mistake is told, and nothing is guessed."""
    with pytest.raises(ConfigurationError, match=said):
        server.read(command)


def test_keep_alive_and_the_balancer() -> None:
    """A server that closes first is an error, with the option that cures it; closing later is none."""
    app = loaded(FastAPI())
    around = Around(command="uvicorn shop:app", idle_timeout=60)
    (keep_alive,) = (one for one in examine(app, around=around).findings if one.code == "keep-alive")
    assert "uvicorn --timeout-keep-alive 65" in keep_alive.cure
    assert found("uvicorn shop:app --timeout-keep-alive 75", idle_timeout=60) == []


def test_the_time_of_a_drain() -> None:
    """Grace below the slowest request, and less time than delay and grace until the server is killed."""
    assert found("uvicorn shop:app", slowest=9, killed_after=30) == []
    assert found("uvicorn shop:app", slowest=12, killed_after=30) == ["drain-grace"]
    assert found("uvicorn shop:app", slowest=9, killed_after=15) == ["drain-killed"]
    assert found("gunicorn shop:app --graceful-timeout 12") == ["drain-killed"]
    assert found("gunicorn shop:app --graceful-timeout 16") == []
    assert found("granian --interface asgi --workers-kill-timeout 10 shop:app") == ["drain-killed"]
    assert found("granian --interface asgi shop:app") == []


def test_the_cures_of_a_drain_fit_each_other() -> None:
    """What to give the drain for the slowest request is what the platform has to wait for, too."""
    app = FastAPI()
    app.add_middleware(OpsMiddleware, drain=Drain(delay=5, grace=10))
    grace, killed = examine(loaded(app), around=Around(slowest=40, killed_after=30)).findings
    assert grace.cure == "Drain(delay=5, grace=41)"
    assert "up to 46 (delay 5, grace 41)" in killed.what
    assert "above 46 s" in killed.cure


def test_signals_that_cannot_be_delayed() -> None:
    """hypercorn with workers, and granian around WSGI, stop at once."""
    assert found("hypercorn shop:app") == ["drain-signal"]
    assert found("hypercorn -w 0 shop:app") == []
    assert found("granian --interface wsgi shop:app") == ["drain-signal"]


@pytest.mark.parametrize(
    ("options", "file", "delays"),
    [
        ("--preload", "", False),
        ("--preload -k gthread", "", False),
        ("", "preload_app = True", False),
        ("", "preload_app = False", True),
        ("", "", True),
        ("--preload", "def post_worker_init(worker): ...", True),
        ("--preload -k uvicorn_worker.UvicornWorker", "", True),
        ("--preload", 'worker_class = "asgi"', True),
    ],
)
def test_what_is_loaded_in_gunicorns_master(options: str, file: str, delays: bool, tmp_path: Path) -> None:
    """WSGI workers learn of no drain there, but by a hook; those of ASGI install it at their start-up."""
    (tmp_path / "gunicorn.conf.py").write_text(f"{file}\n")
    assert server.read(f"gunicorn shop:app {options}", folder=tmp_path).delays == delays


def test_the_cure_of_each_signal_that_is_not_delayed() -> None:
    """It is about the server that is used."""
    app = FastAPI()
    app.add_middleware(OpsMiddleware, drain=Drain(delay=5, grace=10))
    for command, cure in (
        ("hypercorn shop:app", "hypercorn -w 0"),
        ("granian --interface wsgi shop:app", "gunicorn"),
        ("gunicorn shop:app --preload", "post_worker_init"),
    ):
        (signal,) = examine(loaded(app), around=Around(command=command)).findings
        assert cure in signal.cure


def test_nothing_drains() -> None:
    """Without the middleware a deployment loses requests; what is not said is listed."""
    examination = examine(loaded(FastAPI()))
    assert codes(examination.findings) == ["drain-missing"]
    assert any("--idle-timeout" in text for text in examination.unchecked)
