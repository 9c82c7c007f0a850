"""Typed access to a session whose annotations are strings, by `from __future__ import annotations`."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from typing import ClassVar, Final
from typing import ClassVar as Shared

import pytest

from scalekit.errors import SessionValueError
from scalekit.sessions import SessionData
from scalekit.sessions.codec import Codec
from scalekit.sessions.session import Session


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)
    kind: Final[str] = "oak"


class Garden(SessionData):
    bare: ClassVar = 1
    plain: ClassVar[int] = 2
    dotted: t.ClassVar[int] = 3
    renamed: Shared[int] = 4
    quoted: "t.ClassVar[int]" = 5  # noqa: UP037
    constant: Final[int] = 6
    guessed: t.Final = 7
    tree: Tree | None = None
    count: t.Annotated[int, "a key"] = 0


NO_KEYS = ["bare", "plain", "dotted", "renamed", "quoted", "constant", "guessed"]


def garden() -> tuple[Garden, Session]:
    session = Session(None, https=False, codec=Codec([Tree]))
    return Garden.of(session), session


def test_class_variables_and_constants() -> None:
    """32. `ClassVar` and `Final`, however they are spelled, are of the class and no keys of the session."""
    data, session = garden()
    data.count += 1
    assert [getattr(data, name) for name in NO_KEYS] == [1, 2, 3, 4, 5, 6, 7]
    for name in NO_KEYS:
        with pytest.raises(AttributeError, match=rf"Garden\.{name} is no key of the session"):
            setattr(data, name, 0)
    assert dict(session) == {"count": 1}


def test_a_constant_without_a_value() -> None:
    """32. It could never get one: told when the class is made."""
    with pytest.raises(TypeError, match=r"Bad\.size is Final and has no value"):

        class Bad(SessionData):
            size: Final[int]  # type: ignore[misc]


def test_a_value_that_contains_itself() -> None:
    """32. It is refused as any value is that cannot be stored, when it is set and when it became so later."""
    data, session = garden()
    tree = Tree(1)
    tree.children.append(tree)
    with pytest.raises(SessionValueError, match=r"'tree' cannot be stored: .*contains itself"):
        data.tree = tree
    assert dict(session) == {}

    data.tree = grown = Tree(2)
    assert data.tree.kind == "oak"
    grown.children.append(grown)
    with pytest.raises(SessionValueError, match=r"'tree' cannot be read: .*contains itself"):
        data.tree  # noqa: B018
    with pytest.raises(SessionValueError, match=r"'tree' cannot be stored: .*contains itself"):
        session._values.delta()
    del data.tree
    assert data.tree is None
