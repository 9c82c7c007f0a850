"""The tokens against cross-site request forgery (issue 3, line 22)."""

import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalekit.errors import SessionCommitted
from scalekit.sessions import MemoryStore, Store
from scalekit.sessions.csrf import CSRF
from scalekit.sessions.session import Session
from tests.sessions.shells import SECRET, Answer, FlaskShell, Shell, Visitor, WSGIShell


def token(session: Session) -> str:
    return session.csrf_token()


def checks(value: object) -> Any:
    return lambda session: session.check_csrf(value)


def test_a_form_comes_back(visitor: Visitor) -> None:
    """22. A stranger who is shown a form gets a session for it; its token is good there, again and again."""
    reply = visitor.visit(token)
    assert len(reply.set_cookies) == 1
    for _ in range(2):
        assert visitor(checks(reply.json)) is True
    assert visitor(dict) == {}


def test_it_is_masked(visitor: Visitor) -> None:
    """22. Two texts of one token have nothing in common, and all of them are good."""
    texts = visitor(lambda session: [session.csrf_token() for _ in range(50)])
    assert len(set(texts)) == 50
    raw = [base64.urlsafe_b64decode(text + "==") for text in texts]
    for position in range(64):
        assert len({text[position] for text in raw}) > 10
    assert visitor(lambda session: [session.check_csrf(text) for text in texts]) == [True] * 50


def test_a_token_of_somebody_else(shell: Shell) -> None:
    """22. A token is good in its own session only."""
    one, other = shell.visitor(), shell.visitor()
    mine, theirs = one(token), other(token)
    assert one(checks(theirs)) is False
    assert other(checks(mine)) is False
    assert shell.visitor()(checks(mine)) is False


def test_a_session_that_was_there(visitor: Visitor) -> None:
    """22. A page for somebody who has a session sends no cookie."""
    visitor(lambda session: session.update(a=1))
    reply = visitor.visit(token)
    assert reply.set_cookies == []
    assert visitor(checks(reply.json)) is True


@pytest.mark.parametrize("turn", ["login", "logout", "clear"])
def test_after_a_change_of_principal(shell: Shell, turn: str) -> None:
    """22. 15. After a log-in or log-out the tokens from before are worth nothing; new ones are good."""
    visitor = shell.visitor()
    visitor(lambda session: session.login("ann"))
    before = visitor(token)
    visitor(lambda session: session.login("ann") if turn == "login" else getattr(session, turn)())
    assert visitor(checks(before)) is False
    after = visitor(token)
    assert visitor(lambda session: [session.check_csrf(value) for value in (before, after)]) == [False, True]


@pytest.mark.parametrize("turn", ["login", "rotate", "logout"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
def test_in_the_response_that_changes_the_id(shell: Shell, turn: str, known: bool) -> None:
    """22. A page that is made after `login()` or `logout()` in one request has a token of the new session."""
    visitor = shell.visitor()
    if known:
        visitor(lambda session: session.login("bob"))

    def handler(session: Session) -> str:
        session.login("ann") if turn == "login" else getattr(session, turn)()
        return session.csrf_token()

    value = visitor(handler)
    assert visitor(lambda session: [session.check_csrf(value), session.user_id]) == [
        True,
        {"login": "ann", "rotate": "bob" if known else None, "logout": None}[turn],
    ]


def test_before_the_login_of_a_stranger(shell: Shell) -> None:
    """22. Made first and logged in then, in one request: the token is that of the new session."""
    visitor = shell.visitor()

    def handler(session: Session) -> str:
        value = session.csrf_token()
        session.login("ann")
        return value

    assert visitor(checks(visitor(handler))) is True


@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
def test_a_page_from_before_a_rotation(visitor: Visitor, known: bool) -> None:
    """22. A form that another tab still shows is good under the new ids, until a log-in or log-out: whoever
    has planted the session in the browser knows its tokens, and must not have those of who logs in."""
    if known:
        visitor(lambda session: session.login("bob"))
    before = visitor(token)
    for _ in range(2):
        visitor(lambda session: session.rotate())
        assert visitor(checks(before)) is True
    assert visitor(lambda session: [session.rotate(), session.check_csrf(before)][1]) is True
    between = visitor(token)
    visitor(lambda session: session.login("ann"))
    assert visitor(lambda session: [session.check_csrf(value) for value in (before, between)]) == [False] * 2
    after = visitor(token)
    visitor(lambda session: [session.logout(), session.update(farewell=1)])
    assert visitor(checks(after)) is False


def test_while_another_request_rotates(shell: Shell) -> None:
    """22. A form that was sent with the cookie from before a rotation is good, and so is one shown then."""
    visitor = shell.visitor()
    value = visitor(token)
    late = Visitor(shell, visitor.cookie)
    visitor(lambda session: session.rotate())
    assert late(checks(value)) is True
    for page in (late(token), late(lambda session: [session.rotate(), session.csrf_token()][1])):
        assert late(checks(page)) is True
        assert visitor(checks(page)) is True


def test_a_failed_response_starts_nothing(shell: Shell, store: Store) -> None:
    """22. 15. After a 5xx nobody has a session, and its token is worth nothing."""
    visitor = shell.visitor()
    given: list[str] = []
    reply = visitor.visit(lambda session: Answer(given.append(session.csrf_token()), status=500))
    assert (reply.status, reply.set_cookies) == (500, [])
    assert visitor(checks(given[0])) is False
    assert visitor(checks(visitor(token))) is True


@pytest.mark.parametrize(
    "change",
    [
        lambda value: None,
        lambda value: "",
        lambda value: "A" * 86,
        lambda value: "A" * 1_000_000,
        lambda value: "é" * 86,
        lambda value: value[:-1],
        lambda value: value + "A",
        lambda value: "=" * 86,
        lambda value: "A" * 84 + "==",
        lambda value: value[:84] + "==",
        lambda value: value[:85] + "=",
        lambda value: ("B" if value[0] == "A" else "A") + value[1:],
        lambda value: value[:60] + ("B" if value[60] == "A" else "A") + value[61:],
        lambda value: value.encode(),
        lambda value: [value],
        lambda value: 5,
    ],
)
def test_what_is_no_token(visitor: Visitor, change: Any) -> None:
    """22. A value that was changed, cut or made up is false, whatever it is."""
    value = visitor(token)
    assert visitor(lambda session: [session.check_csrf(change(value)), session.check_csrf(value)]) == [
        False,
        True,
    ]


OURS = CSRF(SECRET)
ID = "a" * 64
LETTERS = "Aaz09-_+/= \n\0é\ud800"


@given(
    value=st.none()
    | st.binary()
    | st.text()
    | st.text(LETTERS, min_size=86, max_size=86)
    | st.builds("".join, st.tuples(st.just("A" * 82), st.text(LETTERS, min_size=4, max_size=4)))
)
@example("A" * 84 + "==")
def test_whatever_is_asked_for_is_false(value: object) -> None:
    """22. Nothing that somebody could send raises, and nothing that was not made here is a token."""
    assert OURS.check(value, ID) is False


@given(at=st.integers(0, 85), letter=st.sampled_from(LETTERS))
def test_a_token_with_another_letter(at: int, letter: str) -> None:
    """22. Each letter of a token counts, but for the bits of the last one that carry nothing."""
    value = OURS.token(ID)
    changed = value[:at] + letter + value[at + 1 :]
    same = base64.b64decode(value + "==", altchars="-_")
    try:
        is_same = base64.b64decode(changed + "==", altchars="-_", validate=True) == same
    except ValueError:
        is_same = False
    assert OURS.check(changed, ID) is is_same


def test_nobody_has_a_token_without_a_session(visitor: Visitor) -> None:
    """22. A token that was made for a session is worth nothing once that is over, also with its cookie."""
    value = visitor(token)
    cookie = visitor.cookie
    visitor(lambda session: session.logout())
    assert Visitor(visitor.shell, cookie)(checks(value)) is False


@pytest.mark.parametrize("turn", [None, "login", "logout", "rotate"])
def test_without_a_store(shell_type: type[Shell], turn: str | None) -> None:
    """22. Over a `CookieStore` a token is worth as much: in its session, rotated ones too, until a log-in or
    log-out."""
    from scalekit.sessions.cookie import CookieStore

    visitor = shell_type(CookieStore()).visitor()
    before = visitor(token)
    assert visitor(checks(before)) is True

    def handler(session: Session) -> str:
        if turn is not None:
            session.login("ann") if turn == "login" else getattr(session, turn)()
        return session.csrf_token()

    after = visitor(handler)
    expected = [turn in (None, "rotate"), True]
    for _ in range(2):
        assert visitor(lambda session: [session.check_csrf(value) for value in (before, after)]) == expected
        if turn == "rotate":
            visitor(lambda session: session.rotate())


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_new_key_in_the_ring(shell_type: type[Shell], store: Store) -> None:
    """22. Tokens of an older key are good as long as it is in the ring; those of an unknown one are not."""
    older, newer = "an older secret, long enough", "a newer secret, long enough"
    old = shell_type(store, secret_key=older)
    both = shell_type(store, secret_key=[older, newer])
    visitor = old.visitor()
    value = visitor(token)
    moved = Visitor(both, visitor.cookie)
    assert moved(checks(value)) is True
    assert visitor(checks(moved(token))) is False  # a server that has not heard of the newer one yet
    assert CSRF([older]).check(CSRF([newer]).token("x"), "x") is False


def test_no_signature_passes_for_another(visitor: Visitor) -> None:
    """22. What signs cookies makes no tokens: the salts differ."""
    from scalekit.sessions.tokens import Tokens

    id = "0" * 64
    signature = base64.urlsafe_b64decode(Tokens(SECRET).sign(id).rpartition(".")[2] + "=")
    forged = base64.urlsafe_b64encode(bytes(32) + signature).rstrip(b"=").decode()
    assert len(forged) == 86
    assert CSRF(SECRET).check(forged, id) is False


@pytest.mark.parametrize("store", ["memory"], indirect=True)
async def test_too_late_for_a_new_session(store: Store) -> None:
    """22. 25. After the headers have left a stranger can be given no token; a known visitor can."""
    from scalekit.sessions.asgi import SessionMiddleware
    from tests.sessions.shells import drive_asgi, make_scope

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/start":
            scope["session"]["a"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/late":
            with pytest.raises(SessionCommitted):
                scope["session"].csrf_token()
        await send(
            {"type": "http.response.body", "body": scope["session"].csrf_token().encode() if known else b""}
        )

    known = False
    middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
    await drive_asgi(middleware, make_scope(None) | {"path": "/late"})
    reply = await drive_asgi(middleware, make_scope(None) | {"path": "/start"})
    known = True
    cookie = reply.set_cookies[0].split(";")[0].encode()
    assert len((await drive_asgi(middleware, make_scope(cookie))).body) == 86


@pytest.mark.parametrize("shell_type", [WSGIShell, FlaskShell])
def test_after_a_save_of_which_nobody_heard(shell_type: type[Shell]) -> None:
    """22. 27. The store has made the session and says it failed: saved once more, a new token is good."""
    from scalekit.errors import BackendUnavailable

    class Deaf(MemoryStore):
        heard = False

        def create(self, *args: Any, **options: Any) -> Any:
            created = super().create(*args, **options)
            if not self.heard:
                self.heard = True
                raise BackendUnavailable("not heard", backend="test")
            return created

    def handler(session: Any) -> str:
        session["a"] = session.csrf_token()
        with pytest.raises(BackendUnavailable):
            session.save()
        value: str = session.csrf_token()
        return value

    visitor = shell_type(Deaf()).visitor()
    assert visitor(checks(visitor(handler))) is True


def test_a_lost_store_leaves_no_token_behind(shell_type: type[Shell]) -> None:
    """22. 27. If the session for a form cannot be stored, the answer is a 503, and not a form that fails."""
    from scalekit.errors import BackendUnavailable

    class Down(MemoryStore):
        def create(self, *args: Any, **options: Any) -> Any:
            raise BackendUnavailable("down", backend="test")

    assert shell_type(Down()).visitor().visit(token).status == 503
