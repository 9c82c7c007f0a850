"""A session that is too large is refused before the store is asked, and the message says why (issue 3, line
28)."""

from collections.abc import Callable
from typing import Any

import pytest

from scalekit.errors import SessionTooLarge
from scalekit.sessions import MemoryStore
from tests.sessions.shells import Shell, Visitor, settled

LIMIT = 1000
LONG = "k" * 2000

BIG = "x" * 2000

TOO_LARGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a value": (lambda session: session.update(small=1, large=BIG), "large"),
    "a nested value": (lambda session: session["cart"].append({"note": [BIG]}), "cart"),
    "bytes": (lambda session: session.update(raw=b"\0" * 2000, small="y" * 100), "raw"),
    "many small ones": (lambda session: session.update({f"{n}": n for n in range(500)}, last="yyyy"), "last"),
    "a long name": (lambda session: session.update({LONG: 1, "small": "y" * 100}), LONG),
    "what was left": (lambda session: [session.pop("small", 0), session.update(a=BIG)], "a"),
    "a log-in": (lambda session: [session.login("ann"), session.update(large=BIG)], "large"),
    "a rotation": (lambda session: [session.rotate(), session.update(large=BIG)], "large"),
    "a farewell": (lambda session: [session.logout(), session.update(bye=BIG)], "bye"),
}
AT_ONCE: dict[str, tuple[tuple[Any, ...], str]] = {
    "append": (("append", "cart", "x" * 2000), "cart"),
    "incr": (("incr", LONG), LONG),
}


class Spy(MemoryStore):
    """Counts what would change something."""

    writes = 0

    def count(self, name: str, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        self.writes += 1
        return getattr(super(), name)(*args, **options)

    def save(self, *args: Any, **options: Any) -> Any:
        return self.count("save", *args, **options)

    def swap(self, *args: Any, **options: Any) -> Any:
        return self.count("swap", *args, **options)

    def create(self, *args: Any, **options: Any) -> Any:
        return self.count("create", *args, **options)

    def destroy(self, *args: Any, **options: Any) -> Any:
        return self.count("destroy", *args, **options)


@pytest.fixture
def store() -> Spy:
    return Spy()


@pytest.fixture
def visitor(make_shell: Callable[..., Shell], store: Spy) -> Visitor:
    visitor = make_shell(store, max_size=LIMIT).visitor()
    visitor(lambda session: session.update(cart=["book"], small="s"))
    store.writes = 0
    return visitor


def refused(visitor: Visitor, handler: Callable[[Any], Any]) -> SessionTooLarge | None:
    """What a visit raised; a framework may have made a 500 of it."""
    try:
        reply = visitor.visit(handler)
    except SessionTooLarge as error:
        return error
    assert (reply.status, reply.set_cookies) == (500, [])
    return None


@pytest.mark.parametrize("case", TOO_LARGE)
def test_it_is_refused_before_the_store_is_asked(visitor: Visitor, store: Spy, case: str) -> None:
    """28. Whatever makes it too large: nothing is written or ended, the message names the key, not the value,
    and is short however long the key is."""
    change, key = TOO_LARGE[case]
    cookie = visitor.cookie
    error = refused(visitor, lambda session: change(session) and None)
    assert store.writes == 0
    if error is not None:
        assert (error.key, error.limit) == (key, LIMIT)
        assert error.size > LIMIT
        assert repr(key)[:30] in str(error)
        assert len(str(error)) < 500
        assert "xxx" not in str(error)
    assert visitor.cookie == cookie
    assert visitor(dict) == {"cart": ["book"], "small": "s"}


@pytest.mark.parametrize("case", AT_ONCE)
def test_what_is_stored_at_once(visitor: Visitor, store: Spy, case: str) -> None:
    """28. `append` and `incr` too: the error comes at the line that asks for it."""
    (name, *arguments), key = AT_ONCE[case]

    async def handler(session: Any) -> Any:
        with pytest.raises(SessionTooLarge) as caught:
            await settled(getattr(session, name)(*arguments))
        return [caught.value.key, len(str(caught.value)) < 500]

    assert visitor(handler) == [key, True]
    assert store.writes == 0


def test_what_makes_it_smaller_is_never_refused(make_shell: Callable[..., Shell], store: Spy) -> None:
    """28. A session from before the limit was lowered can be read, and shrink."""
    visitor = make_shell(store, max_size=10_000).visitor()
    visitor(lambda session: session.update(a="x" * 5000, b=1))
    visitor = Visitor(make_shell(store, max_size=LIMIT), visitor.cookie)
    assert visitor(lambda session: len(session["a"])) == 5000
    visitor(lambda session: session.pop("b"))
    visitor(lambda session: session.update(a="x"))
    assert visitor(dict) == {"a": "x"}
