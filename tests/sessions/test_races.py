"""Requests of one visitor that overtake each other (issue 3, lines 7, 8, 10, 11).

The second request runs while the first is inside of its handler, so every order is exact. The same across
processes is in `test_processes.py`.
"""

from collections.abc import Callable
from typing import Any

import pytest

from scalekit.sessions import MemoryStore
from scalekit.sessions.session import Session
from tests.sessions.shells import Reply, Shell, Visitor


@pytest.fixture
def visitor(shell: Shell) -> Visitor:
    visitor = shell.visitor()
    visitor(lambda session: session.update(a=1, b=[1], c=3))
    return visitor


def overtaken(
    visitor: Visitor,
    slow: Callable[[Session], Any],
    fast: Callable[[Session], Any],
    *,
    load_first: bool = True,
) -> tuple[Reply, Reply]:
    """``slow`` has loaded its session when ``fast``, of the same browser, starts and finishes."""
    replies: list[Reply] = []
    other = Visitor(visitor.shell, visitor.cookie)

    def handler(session: Session) -> None:
        if load_first:
            len(session)
        replies.append(other.visit(lambda session: fast(session) and None))
        slow(session)

    # The browser applies the answer of the fast request first.
    slow_reply = Visitor(visitor.shell, visitor.cookie).visit(handler)
    visitor.cookie = other.cookie
    return slow_reply, replies[0]


def login(session: Session) -> None:
    session.login("ann")


def test_changes_of_different_keys_merge(visitor: Visitor) -> None:
    """7. Two requests that set different keys: both survive."""
    overtaken(visitor, lambda s: s.update(slow=1), lambda s: s.update(fast=1))
    assert visitor(dict) == {"a": 1, "b": [1], "c": 3, "slow": 1, "fast": 1}


def test_nested_changes_of_different_keys_merge(visitor: Visitor) -> None:
    """7. A list that one request changed and a key that the other set: both survive."""
    overtaken(visitor, lambda s: s["b"].append(2), lambda s: s.update(a=2))
    assert visitor(dict) == {"a": 2, "b": [1, 2], "c": 3}


def test_the_last_commit_wins_a_key(visitor: Visitor) -> None:
    """7. The same key: what was committed last stays, also if it is the value that was there before."""
    overtaken(visitor, lambda s: s.update(a=1), lambda s: s.update(a=2))
    assert visitor(lambda s: s["a"]) == 1


def test_what_was_only_read_does_not_win(visitor: Visitor) -> None:
    """7. A request that read a key, mutable ones too, does not bring its old value back."""
    overtaken(visitor, lambda s: s.update(a=len(s["b"])), lambda s: s["b"].append(2))
    assert visitor(lambda s: [s["a"], s["b"]]) == [1, [1, 2]]


@pytest.mark.parametrize("swap", [False, True])
def test_deleting_one_key_while_another_is_set(visitor: Visitor, swap: bool) -> None:
    """8. A deleted while B is set: A gone, B kept, in either order."""
    turns = [lambda s: s.pop("a"), lambda s: s.update(d=4)]
    overtaken(visitor, *(reversed(turns) if swap else turns))
    assert visitor(dict) == {"b": [1], "c": 3, "d": 4}


def test_clearing_while_a_key_is_added(visitor: Visitor) -> None:
    """8. `clear()` removes what the request saw, not what another adds meanwhile."""
    overtaken(visitor, lambda s: s.clear(), lambda s: s.update(d=4))
    assert visitor(dict) == {"d": 4}


ENDINGS = {  # of which the old id is worth nothing at once
    "logout": lambda s: s.logout(),
    "login": login,
}
TURNS = {**ENDINGS, "rotate": lambda s: s.rotate()}
CHANGES = {
    "set": lambda s: s.update(a="stale"),
    "nested": lambda s: s["b"].append("stale"),
    "delete": lambda s: s.pop("c"),
    "clear": lambda s: s.clear(),
    "rotate": lambda s: s.rotate(),
    "rotate and set": lambda s: [s.rotate(), s.update(a="stale")],
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", CHANGES)
def test_an_ended_session_stays_ended(visitor: Visitor, ending: str, change: str) -> None:
    """10, 15. A session that ends while a request is under way is not brought back by its save or rotation,
    and the response carries no cookie: the browser keeps what the ending gave it."""
    old = visitor.cookie
    slow, fast = overtaken(visitor, CHANGES[change], ENDINGS[ending])
    assert (slow.status, slow.set_cookies) == (200, [])
    assert len(fast.set_cookies) == 1
    assert Visitor(visitor.shell, old)(dict) == {}
    data = {} if ending == "logout" else {"a": 1, "b": [1], "c": 3}
    assert visitor(dict) == data
    assert visitor(lambda s: s.user_id) == ("ann" if ending == "login" else None)


@pytest.mark.parametrize("late", [False, True], ids=["overtaken", "late"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_rotation_loses_nothing_of_the_others(visitor: Visitor, change: str, late: bool) -> None:
    """13. Who is under way with the old id, or sent it before the new cookie came, reads and changes the
    session that went on, and sends no cookie: nobody is logged out, whichever answer comes first."""
    visitor(login)
    expected = {"set": {"a": "stale"}, "nested": {"b": [1, "stale"]}, "rotate and set": {"a": "stale"}}
    old, other = visitor.cookie, Visitor(visitor.shell, visitor.cookie)
    if late:
        visitor(lambda s: s.rotate())
        assert other(lambda s: [s.user_id, dict(s)]) == ["ann", {"a": 1, "b": [1], "c": 3}]
        reply = other.visit(lambda s: CHANGES[change](s) and None)
    else:
        # `clear` is a log-out here, which test_a_logout_ends_what_the_session_went_on_as has.
        reply, _ = overtaken(visitor, CHANGES[change], TURNS["rotate"])
    if change == "clear":
        assert visitor(lambda s: [s.user_id, dict(s)]) == [None, {}]
        return
    assert (reply.status, reply.set_cookies) == (200, [])
    data = {"a": 1, "b": [1], "c": 3, **expected.get(change, {})}
    if change == "delete":
        del data["c"]
    for cookie in (visitor.cookie, old):
        assert Visitor(visitor.shell, cookie)(lambda s: [s.user_id, dict(s)]) == ["ann", data]


def test_a_chain_of_rotations(make_shell: Callable[..., Shell]) -> None:
    """13. Each id stands for the next until ten seconds after that was used, and none outlives the session.
    More of that is in `test_lost_answers.py`."""
    now = 1_000_000.0
    shell = make_shell(MemoryStore(clock=lambda: now))
    visitor = shell.visitor()
    visitor(lambda s: [s.login("ann"), s.update(a=1)])
    old = [visitor.cookie]
    for _ in range(3):
        now += 4
        visitor(lambda s: s.rotate())
        old.append(visitor.cookie)
    for passed, ended in ((0, 0), (5.9, 0), (0.1, 1), (3.9, 1), (0.1, 3), (60, 3)):
        now += passed
        users = [Visitor(shell, cookie)(lambda s: s.user_id) for cookie in old]
        assert users == [None] * ended + ["ann"] * (4 - ended)
    visitor(lambda s: s.rotate())
    visitor(lambda s: s.logout())
    assert [Visitor(shell, cookie)(lambda s: s.user_id) for cookie in old] == [None] * 4


@pytest.mark.parametrize("ending", TURNS)
@pytest.mark.parametrize("change", ["set", "rotate", "rotate and set"])
def test_a_request_that_comes_late_replaces_no_cookie(visitor: Visitor, ending: str, change: str) -> None:
    """11. A request that left the browser with the old cookie and arrives after the new one was given is
    answered without a cookie, although it writes: its own would log the visitor out."""
    late = Visitor(visitor.shell, visitor.cookie)
    visitor(lambda s: TURNS[ending](s) and None)
    reply = late.visit(lambda s: CHANGES[change](s) and None)
    assert (reply.status, reply.set_cookies) == (200, [])
    assert visitor(lambda s: s.user_id) == ("ann" if ending == "login" else None)


def test_a_login_that_comes_late_logs_in(visitor: Visitor) -> None:
    """11. A double click on "log in": the second request has proved who it is, so it gets a session."""
    late = Visitor(visitor.shell, visitor.cookie)
    visitor(login)
    late(login)
    assert visitor(lambda s: s.user_id) == late(lambda s: s.user_id) == "ann"
    assert visitor.cookie != late.cookie


def test_a_login_that_was_overtaken_logs_in(visitor: Visitor) -> None:
    """10. Logging in is no resurrection: it starts a session that has just been authenticated."""
    slow, fast = overtaken(visitor, login, login)
    assert len(slow.set_cookies) == len(fast.set_cookies) == 1
    assert visitor(lambda s: [s.user_id, s["a"]]) == ["ann", 1]


def test_rotating_carries_over_what_others_saved(visitor: Visitor) -> None:
    """7. A save to the old id, after the rotating request had loaded it, is not lost."""
    replies = overtaken(
        visitor,
        lambda s: [s.update(a="slow"), s.rotate()],
        lambda s: [s.update(a="fast", new=[1]), s["b"].append(2), s.pop("c")],
    )
    visitor.cookie = replies[0].set_cookies[0].split(";")[0].partition("=")[2]
    assert visitor(dict) == {"a": "slow", "b": [1, 2], "new": [1]}


def test_another_user_inherits_nothing_that_was_saved_late(visitor: Visitor) -> None:
    """15. What a request of the former user saves in the last moment does not reach the new user."""
    visitor(login)
    slow, _ = overtaken(visitor, lambda s: s.login("bob"), lambda s: s.update(diary="Ann's"))
    visitor.cookie = slow.set_cookies[0].split(";")[0].partition("=")[2]
    assert visitor(lambda s: [s.user_id, dict(s)]) == ["bob", {}]


def test_two_logouts(visitor: Visitor) -> None:
    """10. Logging out twice at the same time is logging out once."""
    old = visitor.cookie
    slow, fast = overtaken(visitor, ENDINGS["logout"], ENDINGS["logout"])
    assert (slow.status, fast.status) == (200, 200)
    assert (visitor.cookie, Visitor(visitor.shell, old)(dict)) == (None, {})


@pytest.mark.parametrize("turns", [["rotate"], ["login"], ["rotate", "login", "rotate"]], ids="-".join)
@pytest.mark.parametrize("late", [False, True], ids=["overtaken", "late"])
def test_a_logout_ends_what_the_session_went_on_as(visitor: Visitor, turns: list[str], late: bool) -> None:
    """10. "Log out" in one tab while another gives the session new ids: the visitor is logged out, whichever
    cookie the browser keeps in the end."""
    visitor(login)
    other = Visitor(visitor.shell, visitor.cookie)

    def leave(session: Session) -> None:
        if not late:
            assert session.user_id == "ann"
        for turn in turns:
            other(lambda session, turn=turn: TURNS[turn](session) and None)
        session.logout()

    if late:
        for turn in turns:
            other(lambda session, turn=turn: TURNS[turn](session) and None)
        visitor(lambda session: session.logout())
    else:
        visitor(leave)
    assert visitor.cookie is None
    assert other(lambda s: [s.user_id, dict(s)]) == [None, {}]


def test_a_logout_ends_no_other_session(visitor: Visitor) -> None:
    """10. What begins after a log-out (a farewell) is not what it ended: a second one leaves it alone."""
    late = Visitor(visitor.shell, visitor.cookie)
    visitor(lambda s: [s.logout(), s.update(message="Bye!")])
    late(lambda s: s.logout())
    assert visitor(dict) == {"message": "Bye!"}


def test_who_knows_the_old_id_cannot_write_into_the_new_session(visitor: Visitor) -> None:
    """15. What comes too late is dropped rather than carried over: it may be somebody who planted the id."""
    overtaken(visitor, lambda s: s.update(a="planted", new="planted"), login)
    assert visitor(dict) == {"a": 1, "b": [1], "c": 3}


def test_untouched_and_read_requests_send_no_cookie(visitor: Visitor) -> None:
    """11. A request that changes no id sends no cookie, so a slow one cannot bring an old cookie back."""
    for change in (lambda s: None, lambda s: s.get("a"), CHANGES["set"], CHANGES["nested"], CHANGES["clear"]):
        slow, _ = overtaken(visitor, change, lambda s: s.update(x=1))
        assert slow.set_cookies == []
