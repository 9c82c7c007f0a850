"""`incr`, `append` and `take`: changes that no other request comes between (issue 3, line 9)."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from scalekit.errors import BackendUnavailable, SessionCommitted, SessionTooLarge, SessionValueError
from scalekit.sessions import MemoryStore
from scalekit.sessions.session import Session
from tests.sessions.shells import Answer, Shell, Visitor, settled


async def settled_later(call: Callable[[], Any]) -> Any:
    return await settled(call())


def doing(name: str, *arguments: Any) -> Callable[[Session], Any]:
    """A handler that calls one method, whatever the colour, and gives its result."""

    async def handler(session: Any) -> Any:
        return await settled(getattr(session, name)(*arguments))

    return handler


def refused(kind: type[Exception], name: str, *arguments: Any) -> Callable[[Session], Any]:
    """A handler that gives the message of the error that a method raises."""

    async def handler(session: Any) -> str:
        with pytest.raises(kind) as caught:
            await settled(getattr(session, name)(*arguments))
        return str(caught.value)

    return handler


@pytest.fixture
def visitor(shell: Shell) -> Visitor:
    visitor = shell.visitor()
    visitor(lambda session: session.update(count=3, log=["a"], flash="Saved."))
    return visitor


def test_what_they_do(visitor: Visitor) -> None:
    """9. `incr` gives the sum, `append` the length, `take` the value; the store has it when they return."""
    assert visitor(doing("incr", "count")) == 4
    assert visitor(doing("incr", "count", -10)) == -6
    assert visitor(doing("append", "log", "b", ["c"])) == 3
    assert visitor(doing("take", "flash")) == "Saved."
    assert visitor(doing("take", "flash")) is None
    assert visitor(doing("take", "flash", "nothing")) == "nothing"
    assert visitor(dict) == {"count": -6, "log": ["a", "b", ["c"]]}


def test_what_is_not_there_yet(visitor: Visitor) -> None:
    """9. A counter begins at 0, a list empty; for a visitor without a session too, who is then given one."""
    stranger = visitor.shell.visitor()
    for someone in (visitor, stranger):
        assert someone(doing("incr", "new")) == 1
        assert someone(doing("append", "list", 1)) == 1
        assert someone(lambda session: [session["new"], session["list"]]) == [1, [1]]
    nobody = visitor.shell.visitor()
    assert nobody.visit(doing("take", "flash")).set_cookies == []


def overtaken(visitor: Visitor, slow: Callable[[Session], Any], fast: Callable[[Session], Any]) -> list[Any]:
    """The results of two requests; the slow one has read everything before the fast one begins."""
    results: list[Any] = []

    async def handler(session: Any) -> Any:
        assert len(dict(session)) == 3
        results.append(Visitor(visitor.shell, visitor.cookie)(fast))
        return await settled(slow(session))

    return [Visitor(visitor.shell, visitor.cookie)(handler), *results]


def test_both_requests_count(visitor: Visitor) -> None:
    """9. What another request has changed since this one loaded its session is not undone."""
    assert overtaken(visitor, doing("incr", "count"), doing("incr", "count", 10)) == [14, 13]
    assert overtaken(visitor, doing("append", "log", "slow"), doing("append", "log", "fast")) == [3, 2]
    assert visitor(dict) == {"count": 14, "log": ["a", "fast", "slow"], "flash": "Saved."}


def test_one_request_gets_a_message(visitor: Visitor) -> None:
    """9. A flash message is shown once, though both requests had loaded it."""
    assert overtaken(visitor, doing("take", "flash"), doing("take", "flash")) == [None, "Saved."]


def test_a_new_message_is_not_lost_with_the_old_one(visitor: Visitor) -> None:
    """9. What was set meanwhile is what `take` gets."""
    assert overtaken(visitor, doing("take", "flash"), lambda session: session.update(flash="New.")) == [
        "New.",
        None,
    ]
    assert "flash" not in visitor(dict)


def test_they_are_stored_whatever_becomes_of_the_response(visitor: Visitor) -> None:
    """9. A log-in that fails with 500 has counted its attempt; what was set besides is not saved."""

    async def handler(session: Any) -> Answer:
        session["other"] = 1
        await settled(session.incr("count"))
        return Answer(status=500)

    assert visitor.visit(handler).status == 500
    assert visitor(dict) == {"count": 4, "log": ["a"], "flash": "Saved."}


def test_the_rest_of_the_request_sees_them(visitor: Visitor) -> None:
    """9. Reading afterwards gives the new value; a change inside of it is saved."""

    async def handler(session: Any) -> Any:
        assert session["log"] == ["a"]
        await settled(session.append("log", "b"))
        session["log"].append("c")
        await settled(session.take("flash"))
        return ["flash" in session, session["log"]]

    assert visitor(handler) == [False, ["a", "b", "c"]]
    assert visitor(dict) == {"count": 3, "log": ["a", "b", "c"]}


def test_what_this_request_has_changed_itself(visitor: Visitor) -> None:
    """9. After an assignment or a change inside, the value is this request's, and is stored with it."""

    async def handler(session: Any) -> Any:
        session["count"] = 100
        session["log"].append("mine")
        del session["flash"]
        return [
            await settled(session.incr("count")),
            await settled(session.append("log", "b")),
            await settled(session.take("flash")),
        ]

    assert visitor(handler) == [101, 3, None]
    assert visitor(dict) == {"count": 101, "log": ["a", "mine", "b"]}


def test_with_a_change_of_id(visitor: Visitor) -> None:
    """9. Before and after `rotate()` and `login()` in one request; `logout()` leaves nothing of it."""

    async def handler(session: Any, turn: str, *arguments: Any) -> None:
        await settled(session.incr("count"))
        getattr(session, turn)(*arguments)
        await settled(session.incr("count"))

    for turn in (["rotate"], ["login", "ann"], ["login", "ann"]):
        visitor(lambda session, turn=turn: handler(session, *turn))
    assert visitor(lambda session: session["count"]) == 9
    visitor(lambda session: handler(session, "login", "bob"))
    assert visitor(dict) == {"count": 1}
    visitor(lambda session: handler(session, "logout"))
    assert visitor(dict) == {"count": 1}


@pytest.mark.parametrize("ending", ["logout", "login"])
def test_a_session_that_has_ended(visitor: Visitor, ending: str) -> None:
    """10. A session that another request has ended is not brought back by them; nothing of it is shown."""

    def end(session: Session) -> None:
        session.login("ann") if ending == "login" else session.logout()

    async def slow(session: Any) -> Any:
        return [
            await settled(session.take("flash")),
            await settled(session.incr("count")),
            await settled(session.append("log", 1)),
        ]

    assert overtaken(visitor, slow, end)[0] == [None, 1, 1]
    assert visitor(dict) == {}


def test_a_session_that_was_rotated(visitor: Visitor) -> None:
    """13. They follow a session to its new id."""
    new: list[Visitor] = []

    def rotate(session: Session) -> None:
        session.rotate()

    def fast(session: Session) -> None:
        new.append(Visitor(visitor.shell, visitor.cookie))
        new[0](rotate)

    overtaken(visitor, doing("incr", "count"), fast)
    assert new[0](lambda session: session["count"]) == 4


def test_numbers(visitor: Visitor) -> None:
    """9. int, float and Decimal add up; what would lose something, and what is no number, is an error."""

    async def handler(session: Any) -> list[str]:
        session["price"] = Decimal("0.10")
        return [
            str(await settled(session.incr("price", Decimal("0.20")))),
            str(await settled(session.incr("count", 0.5))),
        ]

    assert visitor(handler) == ["0.30", "3.5"]
    for name, *arguments in (
        ["incr", "flash"],
        ["incr", "count", Decimal(1)],
        ["incr", "count", True],
        ["append", "flash", "x"],
        ["incr", "\0count"],
    ):
        assert visitor(refused(SessionValueError, name, *arguments))
    assert visitor(lambda session: [str(session["price"]), session["count"]]) == ["0.30", 3.5]


def test_the_size_is_checked_before(make_shell: Callable[..., Shell]) -> None:
    """28. A list that grows over the limit is refused, named, and stays as it was."""
    visitor = make_shell(max_size=100).visitor()
    visitor(lambda session: session.update(log=["x" * 50]))
    assert "'log'" in visitor(refused(SessionTooLarge, "append", "log", "y" * 50))
    assert visitor(dict) == {"log": ["x" * 50]}


class Contended(MemoryStore):
    """Somebody else is always faster."""

    def swap(self, id: str, name: bytes, **options: Any) -> Any:
        loaded = self.load(id, idle=10**6, step=10**15)
        assert loaded is not None
        number = int.from_bytes(loaded.fields[name], "big")
        self.save(id, changed={name: bytes([number % 100 + 1])}, removed=(), idle=10**6)
        return super().swap(id, name, **options)


def test_it_gives_up_some_day(make_shell: Callable[..., Shell]) -> None:
    """9. A value that others keep changing is an outage, not an endless loop, and nothing has happened."""
    visitor = make_shell(Contended()).visitor()
    visitor(lambda session: session.update(count=1))

    assert visitor.visit(doing("incr", "count")).status == 503
    assert "'count'" in visitor(refused(BackendUnavailable, "incr", "count"))


def test_after_the_headers(make_shell: Callable[..., Shell]) -> None:
    """25. They need no `save()`; where there is no session to change, the error is at the call."""
    shell = make_shell()
    visitor, sessions = shell.visitor(), []
    visitor(lambda session: session.update(count=1))
    for someone in (visitor, shell.visitor()):
        someone(lambda session: sessions.append(session) or len(session))
    late, stranger = sessions
    assert asyncio.run(settled_later(lambda: late.incr("count"))) == 2
    with pytest.raises(SessionCommitted):
        asyncio.run(settled_later(lambda: stranger.incr("count")))
    assert visitor(dict) == {"count": 2}
