"""Pickle only for who asks for it, and nothing is unpickled that is not signed."""

import os
import pickle
from typing import Any

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache.codecs import UNREADABLE, Codec, codec_for
from scalekit.errors import ConfigurationError, UncacheableResult

OLD, NEW, FOREIGN = "old secret of 16 bytes", b"new secret of 16 bytes", "foreign secret, 16 bytes"


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)


class Chart:
    """An object that only pickle knows how to write."""

    points: list[complex]

    def __init__(self, *points: complex) -> None:
        self.points = list(points)


class Trap:
    """What an attacker would store."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("/nowhere/at/all",)


def codec(returns: Any = Chart, *, secret: Any = (OLD, NEW), name: str = "f") -> Codec:
    def function() -> None: ...

    function.__annotations__ = {} if returns is ... else {"return": returns}
    return codec_for(function, name=name, pickle=secret)


@pytest.mark.parametrize("returns", [Chart, Any, ...])
def test_anything_comes_back_that_can_be_pickled(returns: Any) -> None:
    """24. With a secret; an object of one's own for each caller."""
    made = codec(returns)
    back = made.decode(memoryview(b"head" + made.encode(Chart(1j, 2)))[4:])
    assert type(back) is Chart
    assert back.points == [1j, 2]
    assert not made.immutable


def test_without_a_secret_there_is_no_pickle() -> None:
    """24. Neither is one written nor is one read."""
    plain = codec(..., secret=None)
    with pytest.raises(UncacheableResult, match="Chart"):
        plain.encode(Chart())
    with pytest.raises(UNREADABLE):
        plain.decode(codec().encode(Chart()))
    with pytest.raises(UNREADABLE):
        plain.decode(pickle.dumps(1))
    assert (
        codec(secret=OLD).fingerprint != codec(object, secret=None).fingerprint != codec(object).fingerprint
    )


def test_the_signature_is_checked_before_anything_is_unpickled() -> None:
    """24. Not signed, signed with another secret, changed, cut off: as if it were not there. Nothing ran."""
    made = codec()
    trap = pickle.dumps(Trap())
    with pytest.raises(FileNotFoundError):
        pickle.loads(trap)  # what it would do
    payload = made.encode(Chart(1))
    for wrong in (
        trap,
        payload[:43] + trap,
        codec(secret=FOREIGN).encode(Chart(1)),
        codec(name="g").encode(Chart(1)),  # one function's results are none of another's
        payload[:-1],
        payload[:20],
        payload + b"x",
        b"",
    ):
        with pytest.raises(UNREADABLE, match="not signed"):
            made.decode(wrong)


def test_keys_are_rotated() -> None:
    """24. The newest key signs, all of the ring verify; one that has left it makes a miss, not an error."""
    before, during, after = codec(secret=OLD), codec(secret=[OLD, NEW]), codec(secret=[NEW])
    old, new = before.encode(Chart(1)), during.encode(Chart(2))
    assert [during.decode(payload).points for payload in (old, new)] == [[1], [2]]
    assert after.decode(new).points == [2]
    for reader, payload in ((after, old), (before, new)):
        with pytest.raises(UNREADABLE, match="not signed"):
            reader.decode(payload)
    assert before.fingerprint == during.fingerprint == after.fingerprint  # so a rotation drops nothing


def test_a_class_that_has_moved_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """24. A changed type is a miss, never an error to the caller."""
    made = codec(Any)
    payload = made.encode(Chart(1))
    monkeypatch.delitem(globals(), "Chart")
    with pytest.raises(UNREADABLE, match="cannot be unpickled now"):
        made.decode(payload)


def test_what_is_refused() -> None:
    """24. Live objects of the ORM however deep, what cannot be pickled, and secrets that are none."""
    with pytest.raises(UncacheableResult, match=r"Product objects.*select the columns"):
        codec(...).encode([{"deep": Chart(Product(id=1))}])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Product objects"):
        codec(list[Product])
    with pytest.raises(UncacheableResult, match=r"^f: a function result"):
        codec(...).encode(lambda: 1)
    for secret in ("short", [], b""):
        with pytest.raises(ConfigurationError, match="pickle_key"):
            codec(secret=secret)
