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

    def lose_a_rotation(self) -> str:
        """Have the session rotated, and the answer lost; the token that it had, twenty seconds ago."""
        session = SyncSession(self.direct, self.token, https=False)
        session.rotate()
        session.save()
        self.now += 20
        token = self.token_of(session)
        assert token is not None
        return token

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


def every_order(
    *requests: Request, start: Callable[[World], list[str | None]] | None = None
) -> Iterator[Outcome]:
    """What comes of the requests, once for each order of their store operations.

    Args:
        start: what happens before, and with which tokens they come then.
    """
    orders: list[list[int]] = [[]]
    while orders:
        order = orders.pop()
        world = World()
        tokens = [world.token] * len(requests) if start is None else start(world)
        sessions = [Session(token, https=False) for token in tokens]
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


class Lost:
    """A start with a rotation whose answer was lost; which requests come with the new token all the same."""

    def __init__(self, *new: bool) -> None:
        self._new = new
        self.token = ""

    def __call__(self, world: World) -> list[str | None]:
        self.token = world.lose_a_rotation()
        return [self.token if new else world.token for new in self._new]


read = saving(len)
KINDS = {
    "read": read,
    "write": saving(lambda session: session.update(b=2)),
    "rotate": rotate,
    "rotate and write": saving(lambda session: [session.rotate(), session.update(b=2)]),
}


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", ["read", "rotate and write"])
def test_two_after_a_lost_answer(first: str, second: str) -> None:
    """11. 13. Both come with the old cookie: one session, and both answers bring the cookie that was lost."""
    start = Lost(False, False)
    for world, sessions, results in every_order(KINDS[first], KINDS[second], start=start):
        assert results == [True, True]
        assert world.live == [store_id(start.token)]
        assert [world.token_of(session) for session in sessions] == [start.token] * 2
        for token in (world.token, start.token):
            user, data = world.look(token)
            assert (user, "b" in data) == ("ada", "write" in first or "write" in second)
        world.now += 10
        assert [world.look(token)[0] for token in (world.token, start.token)] == [None, "ada"]


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_one_with_either_cookie(first: str, second: str) -> None:
    """11. 13. One comes with the old cookie, one with the new, as when an answer was slow: nobody is logged
    out, whichever answer comes last, and there is one session."""
    start = Lost(False, True)
    for world, sessions, results in every_order(KINDS[first], KINDS[second], start=start):
        assert results == [True, True]
        old, new = map(world.token_of, sessions)
        assert old in (None, start.token)
        assert (new is not None) == ("rotate" in second)
        assert world.live == [store_id(new or start.token)]
        for token in (world.token, start.token, old, new):
            assert token is None or world.look(token)[0] == "ada"
        # Whichever cookie the browser has kept, it is good as long as no other one has come from it.
        world.now += 9
        assert world.look(start.token)[0] == "ada"


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("other", KINDS)
def test_a_log_out_after_a_lost_answer(other: str, new: bool) -> None:
    """10. With either cookie: nobody is left logged in, with any."""
    start = Lost(False, new)
    for world, sessions, _ in every_order(KINDS[other], logout, start=start):
        assert world.live == []
        for token in (world.token, start.token, *map(world.token_of, sessions)):
            assert world.look(token) == [None, {}]


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("user", ["ada", "bob"])
def test_a_log_in_after_a_lost_answer(other: str, new: bool, user: str) -> None:
    """15. Of what the session was before, under all its ids, nothing is left."""
    start = Lost(False, new)
    for world, sessions, _ in every_order(KINDS[other], saving(lambda s: s.login(user)), start=start):
        others = {world.token, start.token, world.token_of(sessions[0])}
        token = world.token_of(sessions[1])
        assert world.live == [store_id(token or "")]
        assert world.look(token)[0] == user
        assert [world.look(other)[0] for other in others if other is not None] == [None] * len(
            others - {None}
        )


def test_revoking_after_a_lost_answer() -> None:
    """12. 29. All are revoked, also that one; all but this one leaves this one."""
    for world, _, _ in every_order(rotate, revoking(), start=(start := Lost(False, False))):
        assert len(world.live) == len(world.store.listed(encode_user("ada"))) == 0
        assert world.look(start.token)[0] is world.look(world.token)[0] is None
    for world, _, results in every_order(
        rotate, revoking(but_this=True), start=(start := Lost(False, False))
    ):
        assert (world.look(start.token)[0], len(world.live), results[1]) == ("ada", 1, 0)


def attempt(steps: Steps[Any], failing: int, *, applied: bool) -> int:
    """Run a request whose operation of this number gets no answer, although it may have been ``applied``.

    Returns:
        How many operations there were.
    """
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
    except (StopIteration, BackendTimeout):
        return done


@pytest.mark.parametrize("applied", [False, True])
def test_an_operation_that_fails_after_a_lost_answer(applied: bool) -> None:
    """13. 27. Whichever operation got no answer, who comes back once more has lost nothing."""
    for failing in range(1, 10):
        world = World()
        lost = world.lose_a_rotation()
        session = Session(world.token, https=False)
        session._core = world.core
        done = attempt(_one(world, session, KINDS["write"]), failing, applied=applied)
        again = SyncSession(world.direct, world.token, https=False)
        assert again.user_id == "ada"
        again.save()
        assert world.token_of(again) == lost
        assert world.look(lost)[0] == "ada"
        if done < failing:
            assert done == 4  # the old id, the new one, the change, and whether the cookie has arrived
            return
    raise AssertionError("it does not end")


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
        done = attempt(_one(world, session, saving(request)), failing, applied=applied)
        if done < failing:
            assert done >= 2
            break
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
