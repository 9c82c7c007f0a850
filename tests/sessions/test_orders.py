"""Requests of one visitor, their store operations in every possible order (issue 3, lines 7 to 13).

Each request is stepped from one store operation to the next, and every interleaving of two of them is tried,
on a fresh store. So is every operation that fails, before and after the store has applied it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from scalekit._steps import Steps, run
from scalekit.errors import BackendTimeout
from scalekit.sessions import Events, MemoryStore
from scalekit.sessions._core import Core
from scalekit.sessions.atomic import extend, increment, removal, update
from scalekit.sessions.owner import encode_user
from scalekit.sessions.session import Session
from scalekit.sessions.tokens import store_id
from scalekit.sessions.users import _Users
from scalekit.sessions.wsgi import SyncSession
from tests.sessions.shells import SECRET

Operation = Callable[[], Any]
Request = Callable[["World", Session], Steps[Any]]


class Deferred:
    """A store whose operations happen when the test says so."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def using(self, colour: Any) -> "Deferred":
        return self

    def __getattr__(self, name: str) -> Callable[..., Operation]:
        method = getattr(self._store, name)
        return lambda *args, **options: lambda: method(*args, **options)


class World:
    """A store with one session of Ada's, and the server side of it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.deferred = Deferred(self.store)
        self.told: list[str] = []
        events = Events(created=self._tell("created"), rotated=self._tell("rotated"))
        self.core = Core(self.deferred, secret_key=SECRET, events=events)  # type: ignore[arg-type]
        self.direct = Core(self.store, secret_key=SECRET)
        first = SyncSession(self.direct, None, https=False)
        first.update(count=0, list=[], flash="Saved.", a=1)
        first.login("ada")
        first.save()
        self.token = self.token_of(first)
        assert self.token is not None

    def _tell(self, kind: str) -> Callable[[Any], None]:
        return lambda event: self.told.append(kind)

    def token_of(self, session: Session) -> str | None:
        """The token in the cookie that the response of ``session`` sends."""
        if session._cookie is None:
            return None
        return self.direct.tokens.verify(session._cookie.split(b";")[0].partition(b"=")[2].decode())

    def look(self, token: str | None) -> list[Any]:
        """User and data, as a request with this token gets them."""
        session = SyncSession(self.direct, token, https=False)
        return [session.user_id, dict(session)]

    @property
    def live(self) -> list[str]:
        return [id for id in self.store._entries if not self.store._entries[id].session.ended]


class Outcome(NamedTuple):
    world: World
    sessions: list[Session]
    results: list[Any]


def every_order(*requests: Request) -> Iterator[Outcome]:
    """What comes of the requests, once for each order of their store operations."""
    orders: list[list[int]] = [[]]
    while orders:
        order = orders.pop()
        world = World()
        sessions = [Session(world.token, https=False) for _ in requests]
        for session in sessions:
            session._core = world.core
        generators = [_one(world, *pair) for pair in zip(sessions, requests, strict=True)]
        waiting: dict[int, Operation] = {}
        results: list[Any] = [None] * len(requests)

        def advance(
            number: int,
            value: Any = None,
            generators: list[Any] = generators,
            waiting: dict[int, Operation] = waiting,
            results: list[Any] = results,
        ) -> None:
            try:
                waiting[number] = generators[number].send(value)
            except StopIteration as done:
                results[number] = done.value

        for number in range(len(requests)):
            advance(number)
        taken: list[int] = []
        while waiting:
            if len(taken) < len(order):
                number = order[len(taken)]
            else:
                number, *others = sorted(waiting)
                orders.extend([*taken, other] for other in others)
            taken.append(number)
            advance(number, waiting.pop(number)())
        yield Outcome(world, sessions, results)


def _one(world: World, session: Session, request: Request) -> Steps[Any]:
    yield from world.core.load(session)
    return (yield from request(world, session))


def saving(change: Callable[[Session], Any]) -> Request:
    def request(world: World, session: Session) -> Steps[Any]:
        change(session)
        return (yield from world.core.commit(session))

    return request


def atomic(key: str, change: Any) -> Request:
    def request(world: World, session: Session) -> Steps[Any]:
        return (yield from update(world.core, session, key, change))

    return request


def revoking(*, but_this: bool = False) -> Request:
    def request(world: World, session: Session) -> Steps[Any]:
        users = _Users(world.deferred, "sync", "the test", Events())  # type: ignore[arg-type]
        return (yield from users._revoke_all("ada", session if but_this else None))

    return request


rotate = saving(lambda session: session.rotate())
logout = saving(lambda session: session.logout())


def test_the_orders() -> None:
    """Two requests of two operations each have six orders."""
    change = saving(lambda session: session.update(b=1))
    assert len(list(every_order(change, change))) == 6


@pytest.mark.parametrize("how", ["set", "delete", "nested"])
@pytest.mark.parametrize("turn", ["rotate", "stay"])
def test_changes_of_different_keys(how: str, turn: str) -> None:
    """7, 8, 13. Both survive, whichever id the session has by then."""
    changes: dict[str, Callable[[Session], Any]] = {
        "set": lambda session: session.update(b=2),
        "delete": lambda session: session.pop("a"),
        "nested": lambda session: session["list"].append(2),
    }

    def first(session: Session) -> None:
        session["c"] = 3
        if turn == "rotate":
            session.rotate()

    expected: dict[str, Any] = {"count": 0, "list": [], "flash": "Saved.", "a": 1, "c": 3}
    expected |= {"set": {"b": 2}, "nested": {"list": [2]}}.get(how, {})
    if how == "delete":
        del expected["a"]
    for world, _, _ in every_order(saving(first), saving(changes[how])):
        assert world.look(world.token) == ["ada", expected]


def test_atomic_changes_during_a_rotation() -> None:
    """9, 13. Every call counts, every item is there, exactly one gets the message."""
    for world, _, results in every_order(rotate, atomic("count", increment("count", 1))):
        assert (results[1], world.look(world.token)[1]["count"]) == (1, 1)
    for world, _, results in every_order(rotate, atomic("list", extend("list", ("x",)))):
        assert (results[1], world.look(world.token)[1]["list"]) == (1, ["x"])
    for world, _, results in every_order(rotate, atomic("flash", removal(None))):
        assert results[1] == "Saved."
        assert "flash" not in world.look(world.token)[1]


def test_three_requests_one_rotation() -> None:
    """9. Two that count while a third rotates get two numbers."""
    count = atomic("count", increment("count", 1))
    for world, _, results in every_order(rotate, count, count):
        assert sorted(results[1:]) == [1, 2]
        assert world.look(world.token)[1]["count"] == 2


def test_two_rotations() -> None:
    """13. One new id, one cookie; nobody is logged out, with either cookie, and one rotation is told."""
    for world, sessions, results in every_order(rotate, rotate):
        tokens = [token for token in map(world.token_of, sessions) if token is not None]
        assert results == [True, True]
        assert len(world.live) == 1
        for token in [world.token, *tokens]:
            assert world.look(token)[0] == "ada"
        assert 1 <= len(tokens) <= 2  # the second one may have begun when all was over
        world.now += 10
        assert world.look(tokens[-1] if len(tokens) == 2 else tokens[0])[0] == "ada"
        assert world.told.count("rotated") == len(tokens)


@pytest.mark.parametrize("user", ["ada", "bob"])
def test_a_log_in_during_a_rotation(user: str) -> None:
    """15. What the session was before, under both its ids, is worth nothing after the log-in."""
    for world, sessions, _ in every_order(rotate, saving(lambda session: session.login(user))):
        tokens = [world.token, *map(world.token_of, sessions)]
        assert world.look(tokens[-1])[0] == user
        assert [world.look(token)[0] for token in tokens[:-1] if token is not None].count("ada") == 0
        assert world.live == [store_id(tokens[-1] or "")]


def test_a_log_out_during_a_rotation() -> None:
    """10. Nobody is left logged in."""
    for world, sessions, _ in every_order(rotate, logout):
        assert world.live == []
        assert all(world.look(world.token_of(session)) == [None, {}] for session in sessions)


def test_revoking_during_a_rotation() -> None:
    """12, 29. All are revoked; all but this one leaves this one, under the id that it has by then."""
    for world, _, _ in every_order(rotate, revoking()):
        assert len(world.live) == len(world.store.listed(encode_user("ada"))) == 0
    for world, _, results in every_order(rotate, revoking(but_this=True)):
        assert (world.look(world.token)[0], len(world.live), results[1]) == ("ada", 1, 0)


def test_revoking_during_a_log_in() -> None:
    """12. Revoked, or still listed."""
    for world, _, _ in every_order(saving(lambda session: session.login("ada")), revoking()):
        assert sorted(world.store.listed(encode_user("ada"))) == sorted(world.live)
    for world, sessions, _ in every_order(saving(lambda session: session.login("bob")), revoking()):
        assert world.look(world.token_of(sessions[0]))[0] == "bob"  # who is not Ada any more


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("turn", ["rotate", "login", "logout"])
def test_an_operation_that_fails(turn: str, applied: bool) -> None:
    """10, 15, 27. Whichever operation of a turn got no answer: when the application saves again, the old id
    is what it should be, and the visitor has lost nothing."""

    def request(session: Session) -> None:
        session["b"] = 2
        session.login("ada") if turn == "login" else getattr(session, turn)()

    for failing in range(1, 10):
        world = World()
        session = Session(world.token, https=False)
        session._core = world.core
        steps = _one(world, session, saving(request))
        done = 0
        try:
            operation = next(steps)
            while True:
                done += 1
                if done == failing and not applied:
                    operation = steps.throw(BackendTimeout("no answer", backend="memory"))
                    continue
                value = operation()
                operation = (
                    steps.throw(BackendTimeout("no answer", backend="memory"))
                    if done == failing
                    else steps.send(value)
                )
        except StopIteration:
            if failing > done:
                assert done >= 2
                break
        except BackendTimeout:
            pass
        if done == 1:  # the load: the application has changed nothing
            continue
        session._core = world.direct
        again = Core(world.store, secret_key=SECRET)
        assert run(again.commit(session)) is True
        if turn == "logout":
            assert world.live == []
            continue
        assert world.look(world.token_of(session)) == [
            "ada",
            {"count": 0, "list": [], "flash": "Saved.", "a": 1, "b": 2},
        ]
        assert world.look(world.token)[0] == ("ada" if turn == "rotate" else None)
        world.now += 10
        assert world.look(world.token)[0] is None
