"""What a visitor is promised, as it grows. Moments are chosen here: nothing waits."""

import math
from typing import Any

from scalekit.database import Token
from scalekit.database.promise import Promise
from scalekit.database.scope import Scope
from scalekit.database.scopes import Scopes
from tests.database._tokens import token

UNKNOWN = Token.unknown("pg:1", 1)


def test_a_commit_of_a_transaction_that_began_later_covers_what_nobody_knew() -> None:
    """1. 17. Whoever else commits meanwhile; and of a line of servers it covers the others' numbers."""
    promise = Promise(None, now=0)
    promise.committed(UNKNOWN, now=10)
    promise.committed(token(1, 100), now=20, began=5)  # another one's, and the token is another since
    assert not promise.is_certain
    promise.committed(token(1, 90), now=30, began=11)
    assert promise.token == token(1, 100), "only forward"

    def maria(server: int, number: int) -> Token:
        return Token("mariadb", 0, ((f"0:{server}", number),))

    promise = Promise(maria(1, 7), now=0)
    promise.committed(maria(2, 9), now=20, began=0)
    assert promise.token == Token("mariadb", 0, (("0:1", 7), ("0:2", 9))), "it began before that was promised"
    promise.committed(maria(2, 10), now=30, began=1)
    assert promise.token == maria(2, 10), "in its history, or lost"


def test_what_is_in_doubt_until_its_place_is_known() -> None:
    """1. The end of its transaction tells, or the primary's log that was asked afterwards."""
    promise = Promise(token(1, 50), now=0)
    one, two = object(), object()
    promise.doubt(one, UNKNOWN, now=10)
    promise.doubt(two, UNKNOWN, now=20)
    child = promise.and_also(None, now=21)
    promise.relieve(one)
    promise.committed(token(1, 60), now=22)
    assert not promise.is_certain
    promise.settle(token(1, 70), asked=20)
    assert not promise.is_certain, "asked too early"
    promise.settle(token(1, 80), asked=21)
    assert promise.token == token(1, 80)
    assert not child.is_certain
    child.settle(token(0, 99), asked=30)
    child.settle(token(1, 99, system="pg:2"), asked=30)
    assert not child.is_certain, "an old primary's log, and another system's"
    child.settle(token(2, 90), asked=30)
    assert child.token == token(2, 90), "of another timeline: in its history, or lost"
    promise.doubt(one, UNKNOWN, now=math.inf)
    promise.settle(token(1, 90), asked=40)
    assert not promise.is_certain, "more may come"
    promise.lapse(one, now=50)
    promise.lapse(two, now=50)
    promise.settle(token(1, 95), asked=51)
    assert promise.token == token(1, 95), "it does not"


def test_a_commit_that_nobody_answered_is_over_after_a_minute() -> None:
    """17. Who goes on reading for longer than that does not stay on the primary for ever."""
    promise = Promise(token(1, 50), now=0)
    promise.committed(UNKNOWN, now=10)
    promise.settle(token(1, 60), asked=70)
    assert not promise.is_certain
    promise.settle(token(1, 60), asked=70.1)
    assert promise.token == token(1, 60)


def test_what_a_parent_is_promised_its_children_are_too() -> None:
    """1. 23. At once, and theirs is their brothers'. The process hears all of it, and tells none."""
    scopes = Scopes()
    scopes.process.advance(token(1, 5))
    parent = Scope()
    children = [Scope(token(1, 10), parent=parent), Scope(parent=parent)]
    grandchild = Scope(parent=children[1])
    with scopes.enter(children[0]):
        children[0].advance(token(1, 30), also=scopes.who_else())
    assert [one.token for one in (parent, *children, grandchild)] == [token(1, 30)] * 4
    assert scopes.process.token == token(1, 30)
    assert [one.commits for one in (parent, *children, grandchild)] == [1, 1, 0, 0]
    assert [one.advanced for one in (parent, *children, grandchild)] == [True, True, False, False]
    writer = object()
    scopes.doubted(parent.doubt(writer, UNKNOWN, also=scopes.who_else()))
    late = Scope(parent=grandchild)
    assert not any(one.token and one.token.is_known for one in (*children, grandchild, late, scopes.process))
    late.advance(token(1, 40), settles=writer, also=scopes.who_else())
    assert {one.token for one in (parent, *children, late, scopes.process)} == {token(1, 40)}
    scopes.doubted(parent.doubt(writer, UNKNOWN))
    later = Scope(parent=children[1])
    scopes.heard(token(1, 50), asked=float("inf"))
    assert grandchild.token == later.token == token(1, 50), "the primary was asked meanwhile"
    other = Scope()
    assert other.token is None
    assert Scope(parent=other).token is None


def test_a_scope_that_is_over_is_not_kept() -> None:
    """A parent that lives for long, as a worker's loop, does not collect its children."""
    parent = Scope()
    for _ in range(3):
        Scope(parent=parent)
    assert not parent._children


def test_a_scope_that_is_opened_meanwhile() -> None:
    """1. While a commit is told to one scope after the other: it is promised it whenever it is opened."""
    opened: list[Scope] = []

    class Opening(Scope):
        def _change(self, *arguments: Any, **keywords: Any) -> None:
            opened.append(Scope(parent=self))
            super()._change(*arguments, **keywords)
            opened.append(Scope(parent=self))

    parent = Opening()
    child = Opening(parent=parent)
    parent.advance(token(1, 10))
    assert len(opened) == 4
    assert {one.token for one in (parent, child, *opened)} == {token(1, 10)}
