"""`scalekit sessions` as a person and a program meet it, with users who are logged in."""

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

pytest.importorskip("redis")

from scalekit.cli import main
from scalekit.sessions import Store
from scalekit.sessions.redis import RedisStore
from tests.cli.command import start
from tests.sessions.shells import SHELLS, Shell, Visitor

PHONE, LAPTOP = "Ann's phone", "\x1b[31mMozilla/5.0 (X11; Linux x86_64)"
SLACK = {"timeout": 30, "connect_timeout": 30}


@pytest.fixture
def shell(redis_url: str, prefix: str) -> Shell:
    return over(RedisStore.from_url(redis_url, prefix=prefix, **SLACK))


def over(store: Store) -> Shell:
    """An application whose sessions are in ``store``."""
    return SHELLS["wsgi"](store)


def logged_in(shell: Shell, user_id: Any = "ann", device: str | None = None) -> Visitor:
    visitor = shell.visitor()
    visitor(lambda session: session.login(user_id, device=device))
    return visitor


def user(visitor: Visitor) -> Any:
    return visitor(lambda session: str(session.user_id))


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    assert main(["sessions", *arguments, "--json"]) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_list_for_people(
    shell: Shell, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where somebody is logged in, the last seen first; of the id what is needed to name it."""
    logged_in(shell, device=LAPTOP)
    time.sleep(0.002)  # it is told in whole milliseconds
    phone = logged_in(shell, device=PHONE)
    logged_in(shell, "bob")
    where = ["--redis", redis_url, "--prefix", prefix]
    assert main(["sessions", "list", "ann", *where]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["id", "logged", "in", "last", "seen", "ends", "device"]
    assert [line.split(maxsplit=10)[10].rstrip() for line in lines] == [
        PHONE,
        LAPTOP.replace("\x1b", "\\x1b"),
    ]
    id = phone(lambda session: session._id)
    assert lines[0].split()[0] == id[:12]
    assert id not in "".join(lines)
    assert main(["sessions", "list", "eve", *where]) == 0
    assert capsys.readouterr().out == "eve is not logged in\n"


def test_one_is_ended(shell: Shell, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By what is shown of its id; a second time there is none, which is 1. Another user's is never meant."""
    laptop, phone, bob = (logged_in(shell, name) for name in ("ann", "ann", "bob"))
    where = ["--redis", redis_url, "--prefix", prefix]
    of_phone, of_bob = (visitor(lambda session: session._id)[:12] for visitor in (phone, bob))
    done = {"done": True, "ended": 1, "missing": []}
    assert ask(capsys, "revoke", "ann", of_phone, *where) == [done]
    assert [user(visitor) for visitor in (laptop, phone, bob)] == ["ann", "None", "bob"]
    again = ask(capsys, "revoke", "ann", of_phone, of_bob, *where, status=1)
    assert again == [{"done": True, "ended": 0, "missing": [of_phone, of_bob]}]
    assert [user(visitor) for visitor in (laptop, bob)] == ["ann", "bob"]


def test_one_is_ended_though_it_goes_on_as_another(
    shell: Shell, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the list and the end it may be rotated: a whole id, as --json has it, still names it."""
    ann = logged_in(shell)
    where = ["--redis", redis_url, "--prefix", prefix]
    (listed, _) = ask(capsys, "list", "ann", *where)
    ann(lambda session: session.rotate())
    assert ask(capsys, "list", "ann", *where)[0]["id"] != listed["id"]
    assert ask(capsys, "revoke", "ann", listed["id"], *where)[0]["ended"] == 1
    assert user(ann) == "None"


def test_all_are_ended(shell: Shell, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Everywhere at once; twice is once."""
    visitors = [logged_in(shell) for _ in range(3)]
    where = ["--redis", redis_url, "--prefix", prefix]
    for count in (3, 0):
        assert main(["sessions", "revoke", "ann", "--all", *where]) == 0
        assert capsys.readouterr().out == f"{count} sessions ended\n"
    assert [user(visitor) for visitor in visitors] == ["None"] * 3


def test_who_a_user_may_be(
    shell: Shell, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number and a UUID on the command line are what applications log in, texts too; --type takes one."""
    uuid = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
    for name in (42, "42", uuid):
        logged_in(shell, name)
    where = ["--redis", redis_url, "--prefix", prefix]
    found = ask(capsys, "list", "42", *where)
    assert sorted(str(type(one.get("user")).__name__) for one in found[:-1]) == ["int", "str"]
    assert found[-1] == {"done": True, "sessions": 2}
    assert [one["user"] for one in ask(capsys, "list", "42", "--type", "int", *where)[:-1]] == [42]
    (one, _) = ask(capsys, "list", str(uuid), *where)
    assert one["user"] == str(uuid)
    assert main(["sessions", "list", "ann", "--type", "uuid", *where]) == 2
    assert "'ann' is no uuid" in capsys.readouterr().err


STORES = """
import redis.asyncio
from scalekit.cache.memory import MemoryBackend
from scalekit.sessions import MemoryStore
from scalekit.sessions.encryption import EncryptedStore
from scalekit.sessions.redis import RedisStore

print("the application prints this")
plain = RedisStore.from_url({url!r}, prefix={prefix!r}, timeout=30, connect_timeout=30)
store = EncryptedStore(plain, keys={key!r})

def made():
    return RedisStore(redis.asyncio.Redis.from_url({url!r}, socket_timeout=30), prefix={prefix!r} + "made:")

asynchronous, memory, cache = made(), MemoryStore(), MemoryBackend()
"""


@pytest.fixture
def stores(tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of an application with stores of all kinds."""
    pytest.importorskip("cryptography")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"stores_{prefix[5:-1]}"
    text = STORES.format(url=redis_url, prefix=prefix, key="another secret, which encrypts")
    (tmp_path / f"{name}.py").write_text(text)
    return name


def test_the_store_of_an_application(
    stores: str, redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is encrypted is found with its keys alone; one may be asynchronous, or made by a function."""
    encrypted = __import__(stores).store
    ann = logged_in(over(encrypted), device=PHONE)
    capsys.readouterr()
    where = ["--store", f"{stores}:store"]
    (one, _) = ask(capsys, "list", "ann", *where)
    assert one["device"] == PHONE
    assert ask(capsys, "list", "ann", "--redis", redis_url, "--prefix", prefix)[-1]["sessions"] == 0
    assert ask(capsys, "revoke", "ann", one["id"], *where)[0]["ended"] == 1
    assert user(ann) == "None"
    bob = logged_in(over(RedisStore.from_url(redis_url, prefix=prefix + "made:", **SLACK)), "bob")
    assert ask(capsys, "list", "bob", "--store", f"{stores}:made", "--factory")[-1]["sessions"] == 1
    assert ask(capsys, "revoke", "bob", "--all", "--store", f"{stores}:asynchronous")[0]["ended"] == 1
    assert user(bob) == "None"


def test_stores_that_are_none(stores: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be looked into is 2, with what can: memory of other processes, and what is no store."""
    for name, words in {
        "memory": "keeps sessions in the memory of each process",
        "cache": f"is no store of sessions but a MemoryBackend; there is {stores}:plain, {stores}:store",
        "made": "is no store of sessions but a function; there is",
        "gone": "has no 'gone'",
    }.items():
        assert main(["sessions", "list", "ann", "--store", f"{stores}:{name}"]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["list", "ann"], 2, "Give --redis URL, or set REDIS_URL, or give --store module:store"),
        (["list", "ann", "--store", "a:b", "--prefix", "x"], 2, "leave out --redis and --prefix"),
        (["revoke", "ann"], 2, "Give IDs as 'scalekit sessions list' shows them, or --all"),
        (["revoke", "ann", "12345678", "--all"], 2, "not both: give IDs"),
        (["revoke", "ann", "1234567"], 2, "'1234567' is no id"),
        (["list", "ann", "--redis", "redis://u:hunter2@127.0.0.1:1"], 1, "127.0.0.1:1"),
    ],
)
def test_mistakes(
    arguments: list[str],
    status: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake is 2 and names its cure; a Redis that is away is 1. No message has a password."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert main(["sessions", *arguments]) == status
    output, errors = capsys.readouterr()
    assert words in errors
    assert "hunter2" not in errors
    assert (output, errors.count("\n")) == ("", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(number: int, status: int) -> None:
    """A signal while the server is silent ends it without a traceback, and it says how to go on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        process = start("sessions", "revoke", "ann", "--all", "--redis", url)
        try:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(number)
                output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, output) == (status, "")
    assert errors == "stopped; some may have ended. Run it again to go on\n"
