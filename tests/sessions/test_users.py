"""The sessions of a user: listed, revoked (issue 3, lines 12 and 29)."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from scalekit.errors import BackendUnavailable, ConfigurationError, SessionValueError
from scalekit.sessions import AsyncUserSessions, Events, MemoryStore, SessionInfo, Store, UserSessions
from scalekit.sessions.session import Session
from scalekit.sessions.store import Inherited
from tests.sessions.shells import Answer, Shell, Visitor

AGENT = "Mozilla/5.0 (X11; Linux x86_64)"


class Both:
    """`UserSessions` in both colours, which must say the same."""

    def __init__(self, store: Store) -> None:
        self.plain, self.coloured = UserSessions(store), AsyncUserSessions(store)

    def list(self, user_id: Any, **options: Any) -> list[SessionInfo]:
        infos = self.plain.list(user_id, **options)
        assert asyncio.run(self.coloured.list(user_id, **options)) == infos
        return infos

    def revoke(self, user_id: Any, id: str) -> bool:
        return asyncio.run(self.coloured.revoke(user_id, id))

    def revoke_all(self, user_id: Any, **options: Any) -> int:
        return asyncio.run(self.coloured.revoke_all(user_id, **options))


@pytest.fixture
def users(store: Store) -> Both:
    return Both(store)


def logged_in(shell: Shell, user_id: Any = "ann", **options: Any) -> Visitor:
    visitor = shell.visitor()
    visitor(lambda session: session.login(user_id, **options))
    return visitor


def user(visitor: Visitor) -> Any:
    return visitor(lambda session: session.user_id)


def id_of(visitor: Visitor) -> str:
    """As an application gets it from a list, for the session that asks."""
    ids: list[str] = []
    visitor(lambda session: ids.append(session._id))
    return ids[0]


def test_the_list(shell: Shell, users: Both) -> None:
    """29. A user's sessions with device, times and an id, the last seen first; nobody else's."""
    before = datetime.now(UTC)
    phone, laptop = logged_in(shell, device="Ann's phone"), logged_in(shell, device="💻" * 300)
    logged_in(shell, "ben")
    shell.visitor()(lambda session: session.update(a=1))
    after = datetime.now(UTC)
    infos = users.list("ann")
    assert {info.id: info.device for info in infos} == {
        id_of(phone): "Ann's phone",
        id_of(laptop): "💻" * 200,
    }
    assert infos == sorted(infos, key=lambda info: info.last_seen, reverse=True)
    for info in infos:
        # The store's clock is this machine's; it counts whole milliseconds.
        assert before.timestamp() - 0.001 <= info.created.timestamp() <= info.last_seen.timestamp()
        assert info.last_seen <= after
        assert round((info.expires - info.created).total_seconds()) == 30 * 24 * 3600
        assert not info.current
    assert users.list("nobody") == []


@pytest.mark.parametrize("user_id", ["ann", 7, UUID(int=7), "", "\0"], ids=repr)
def test_every_kind_of_user_id(shell: Shell, users: Both, user_id: Any) -> None:
    """29. The user 7 is not the user "7"."""
    visitor, other = logged_in(shell, user_id), logged_in(shell, str(user_id) + "7")
    assert [info.id for info in users.list(user_id)] == [id_of(visitor)]
    assert users.revoke_all(user_id) == 1
    assert (user(visitor), user(other)) == (None, str(user_id) + "7")


def test_the_device_is_the_user_agent(shell_type: type[Shell]) -> None:
    """29. Without a name of its own, a session is called by the browser it began in."""
    store = MemoryStore()
    shell = shell_type(store)
    shell.agent = AGENT
    visitor = logged_in(shell)
    visitor(lambda session: session.rotate())
    assert [info.device for info in UserSessions(store).list("ann")] == [AGENT]


def test_a_server_that_was_killed_in_the_middle_of_a_rotation(
    shell: Shell, users: Both, store: Store
) -> None:
    """29. What it had made already is nobody's, and stands in the list for nobody else's."""
    visitor, bound, sessions = logged_in(shell), store.using("sync"), list[Session]()
    visitor(lambda session: sessions.append(session) or len(session))
    (session,) = sessions
    kept = Inherited(session._stored.created, session._stored.deadline, session._stored.origin)
    for digit in "0f":  # before and after it by any order
        bound.create(digit * 64, fields={}, user=session._user, idle=10**6, lifetime=1, inherit=kept)
    (info,) = users.list("ann", current=session)
    assert (info.id, info.current) == (session._id, True)


def test_this_session_is_marked(shell: Shell, users: Both) -> None:
    """29. The session that asks is told from the others."""
    visitor, other = logged_in(shell), logged_in(shell)
    sessions: list[Session] = []
    visitor(lambda session: sessions.append(session) or len(session))
    current = {info.id: info.current for info in users.list("ann", current=sessions[0])}
    assert current == {id_of(visitor): True, id_of(other): False}


def test_an_id_is_no_token(shell: Shell, users: Both) -> None:
    """29. Who is shown the list of somebody's sessions cannot use any of them."""
    logged_in(shell)
    (info,) = users.list("ann")
    for cookie in (info.id, info.id[:43], f"{info.id[:43]}.{info.id[:43]}"):
        assert user(Visitor(shell, cookie)) is None


def test_the_list_follows_the_sessions(shell: Shell, users: Both) -> None:
    """29. Rotated is listed once, under the new id; logged out is not listed."""
    visitor = logged_in(shell)
    visitor(lambda session: session.rotate())
    assert [info.id for info in users.list("ann")] == [id_of(visitor)]
    visitor(lambda session: session.login("ann"))
    assert [info.id for info in users.list("ann")] == [id_of(visitor)]
    visitor(lambda session: session.login("ben"))
    assert (users.list("ann"), [info.id for info in users.list("ben")]) == ([], [id_of(visitor)])
    visitor(lambda session: session.logout())
    assert users.list("ben") == []


def test_the_list_has_no_dead(make_shell: Callable[..., Shell]) -> None:
    """29. A session that was idle too long is not listed, and one whose deadline has passed is forgotten."""
    now = 1_000_000.0
    store = MemoryStore(clock=lambda: now)
    users, shell = Both(store), make_shell(store, idle_timeout=1000, lifetime=10_000)
    used, idle = logged_in(shell), logged_in(shell)
    for _ in range(4):
        now += 400
        user(used)
    assert [info.id for info in users.list("ann")] == [id_of(used)]
    (info,) = users.list("ann")
    assert info.last_seen.timestamp() == now
    assert user(idle) is None


def test_looking_at_the_list_is_not_using_the_sessions(make_shell: Callable[..., Shell]) -> None:
    """29. Whoever looks at the list every day keeps nobody logged in."""
    now = 1_000_000.0
    store = MemoryStore(clock=lambda: now)
    users = Both(store)
    logged_in(make_shell(store, idle_timeout=1000))
    for _ in range(4):
        (info,) = users.list("ann")
        assert info.last_seen.timestamp() == 1_000_000
        now += 249
    now += 5
    assert users.list("ann") == []


def test_revoking_one(shell: Shell, users: Both) -> None:
    """29. The session ends at once, the user's others go on; twice is once."""
    lost, kept = logged_in(shell), logged_in(shell)
    id = id_of(lost)
    assert users.revoke("ann", id)
    assert (user(lost), user(kept)) == (None, "ann")
    assert not users.revoke("ann", id)
    assert [info.id for info in users.list("ann")] == [id_of(kept)]


def test_revoking_what_has_been_rotated_meanwhile(shell: Shell, users: Both) -> None:
    """29. An id from a list that is a minute old ends what the session has gone on as."""
    visitor = logged_in(shell)
    (info,) = users.list("ann")
    for turn in (lambda session: session.rotate(), lambda session: session.login("ann")):
        visitor(turn)
    assert users.revoke("ann", info.id)
    assert user(visitor) is None


@pytest.mark.parametrize(
    "id", ["", "x", "0" * 64, "../../etc/passwd", "user:" + "0" * 59, "A" * 64, "é" * 64]
)
def test_revoking_what_is_not_there(shell: Shell, users: Both, id: str) -> None:
    """29. An id that is none of the user's ends nothing, somebody else's neither."""
    visitor, other = logged_in(shell), logged_in(shell, "ben")
    assert not users.revoke("ann", id)
    assert not users.revoke("ann", id_of(other))
    assert (user(visitor), user(other)) == ("ann", "ben")


def test_revoking_all_but_this(shell: Shell, users: Both) -> None:
    """29. "Log me out everywhere else": also while this session gets a new id, before or after."""
    for turn in (
        lambda session: None,
        lambda session: session.rotate(),
        lambda session: session.login("ann"),
    ):
        this, *others = [logged_in(shell) for _ in range(3)]
        sessions: list[Session] = []
        this(lambda session: sessions.append(session) or len(session))  # noqa: B023
        Visitor(shell, this.cookie)
        this(turn)
        assert users.revoke_all("ann", but=sessions[0]) == 2
        assert [user(visitor) for visitor in (this, *others)] == ["ann", None, None]
        assert users.revoke_all("ann") == 1
        assert user(this) is None


def test_revoking_inside_of_a_request(shell: Shell, users: Both) -> None:
    """10, 29. A request whose session is revoked while it runs saves nothing and sends no cookie."""
    visitor = logged_in(shell)

    def handler(session: Session) -> None:
        assert session.user_id == "ann"
        UserSessions(shell.store).revoke_all("ann")
        session["late"] = 1

    reply = visitor.visit(handler)
    assert (reply.status, reply.set_cookies) == (200, [])
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {}]


class Leaving(MemoryStore):
    """A store that goes away after a number of sessions were ended."""

    left = 2

    def destroy(self, id: str, **options: Any) -> Any:
        if self.left == 0:
            raise BackendUnavailable("away", backend="memory")
        self.left -= 1
        return super().destroy(id, **options)


def test_an_outage_while_revoking(make_shell: Callable[..., Shell]) -> None:
    """12, 29. What was not ended is still listed, so that the next call ends it."""
    store = Leaving()
    shell, users = make_shell(store), UserSessions(store)
    store.left = 1000
    visitors = [logged_in(shell) for _ in range(4)]
    store.left = 2
    with pytest.raises(BackendUnavailable):
        users.revoke_all("ann")
    store.left = 1000
    assert len(users.list("ann")) == 2
    assert users.revoke_all("ann") == 2
    assert [user(visitor) for visitor in visitors] == [None] * 4


def test_wrong_arguments() -> None:
    """A user who is none, and what is no store, are told at the call."""
    users = UserSessions(MemoryStore())
    for wrong in (None, True, b"ann", ("ann",)):
        with pytest.raises(SessionValueError):
            users.list(wrong)  # type: ignore[arg-type]
    for ask in (users.list, users.revoke_all, lambda user: users.revoke(user, "0" * 64)):
        with pytest.raises(SessionValueError, match="nobody is logged in"):
            ask(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a store"):
        UserSessions("redis://localhost")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"Events\("):
        UserSessions(MemoryStore(), events=print)  # type: ignore[arg-type]


def test_events(make_shell: Callable[..., Shell]) -> None:
    """31. Created, rotated, destroyed and revoked are told once the store has it, with user and device."""
    store, told = MemoryStore(), list[Any]()

    def tell(kind: str) -> Callable[[Any], None]:
        return lambda event: told.append((kind, event.id, event.user_id, event.device, event.previous))

    events = Events(**{kind: tell(kind) for kind in ("created", "rotated", "destroyed", "revoked")})
    visitor = make_shell(store, events=events).visitor()
    visitor(lambda session: len(session))
    assert told == []
    visitor(lambda session: session.update(a=1))
    first = id_of(visitor)
    visitor(lambda session: session.login("ann", device="phone"))
    second = id_of(visitor)
    visitor(lambda session: session.rotate())
    third = id_of(visitor)
    visitor(lambda session: session.update(a=2))
    visitor(lambda session: session.logout())
    visitor(lambda session: session.login(7))
    fourth = id_of(visitor)
    assert UserSessions(store, events=events).revoke_all(7) == 1
    assert told == [
        ("created", first, None, None, None),
        ("rotated", second, "ann", "phone", first),
        ("rotated", third, "ann", "phone", second),
        ("destroyed", third, "ann", "phone", None),
        ("created", fourth, 7, None, None),
        ("revoked", fourth, 7, None, None),
    ]


def test_events_of_what_has_not_happened(make_shell: Callable[..., Shell]) -> None:
    """31. A response that failed, and a rotation that another request was faster with, tell nothing."""
    told: list[Any] = []
    shell = make_shell(events=Events(created=told.append, rotated=told.append, destroyed=told.append))
    visitor = shell.visitor()
    visitor.visit(lambda session: [session.login("ann"), Answer(status=500)][1])
    assert told == []
    visitor(lambda session: session.login("ann"))
    other = Visitor(shell, visitor.cookie)

    def slow(session: Session) -> None:
        assert session.user_id == "ann"
        other(lambda session: session.rotate())
        told.clear()
        session.rotate()

    visitor(slow)
    assert told == []


def test_a_callback_that_fails(make_shell: Callable[..., Shell], caplog: pytest.LogCaptureFixture) -> None:
    """31. The visitor is logged in all the same; the error is in the log, without a token."""

    def fail(event: object) -> None:
        raise LookupError("the audit log is full")

    visitor = make_shell(events=Events(created=fail)).visitor()
    visitor(lambda session: session.login("ann"))
    assert user(visitor) == "ann"
    assert "the audit log is full" in caplog.text
    assert visitor.cookie is not None
    assert visitor.cookie[:43] not in caplog.text


def test_a_callback_that_is_none() -> None:
    """31. What cannot be called, or would have to be awaited, is an error at start-up."""

    async def later(event: object) -> None: ...

    for wrong in (later, "log"):
        with pytest.raises(ConfigurationError, match="created="):
            Events(created=wrong)  # type: ignore[arg-type]


class Failing(MemoryStore):
    """A store that cannot end one session."""

    broken = ""

    def destroy(self, id: str, **options: Any) -> Any:
        if id == self.broken:
            raise BackendUnavailable("its server is away", backend="memory")
        return super().destroy(id, **options)


def test_one_that_cannot_be_revoked_keeps_no_other(make_shell: Callable[..., Shell]) -> None:
    """12, 29. The server of one session is away: the others are revoked, and the error is told at the end."""
    store = Failing()
    shell, users = make_shell(store), UserSessions(store)
    visitors = [logged_in(shell) for _ in range(3)]
    store.broken = id_of(visitors[0])
    with pytest.raises(BackendUnavailable):
        users.revoke_all("ann")
    assert [user(visitor) for visitor in visitors] == ["ann", None, None]
