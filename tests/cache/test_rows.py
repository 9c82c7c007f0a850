"""SQLAlchemy's rows come back as rows."""

import dataclasses
import datetime as dt
import decimal
import enum
import pickle
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Row, RowMapping
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.cache.codecs import UNREADABLE, Codec, codec_for
from scalekit.errors import ConfigurationError, UncacheableResult


class Base(DeclarativeBase): ...


class Kind(enum.Enum):
    A = 1
    B = 2


class Mixed(enum.Enum):
    A = 1
    B = "b"


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    price: Mapped[decimal.Decimal] = mapped_column(sa.Numeric(10, 2))
    added: Mapped[dt.datetime]
    day: Mapped[dt.date]
    code: Mapped[uuid.UUID]
    kind: Mapped[Kind]
    more: Mapped[Any] = mapped_column(sa.JSON)
    count: Mapped[float]


@pytest.fixture(scope="module")
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.connect() as connection, Session(connection) as session:
        for number in range(3):
            session.add(
                Product(
                    name=None if number == 1 else f"p{number}",
                    price=decimal.Decimal("1.10"),
                    added=dt.datetime(2024, 1, 1, 12),
                    day=dt.date(2024, 1, 1),
                    code=uuid.UUID(int=number),
                    kind=Kind.A if number else Kind.B,
                    more={"a": [number, None]} if number else [1],
                    count=0.5,
                )
            )
        session.flush()
        yield connection
    engine.dispose()


P = Product
PLAIN = sa.select(P.id, P.name, P.price, P.added, P.day, P.code, P.more, P.count).order_by(P.id)
NAMES = sa.select(P.id, P.name).order_by(P.id)
ENUMS = sa.select(P.id, P.kind).order_by(P.id)


def codec(returns: Any) -> Codec:
    def function() -> None: ...

    function.__annotations__ = {"return": returns}
    return codec_for(function, name="f")


@pytest.mark.parametrize(
    ("returns", "ask"),
    [
        (Sequence[Row], lambda c: c.execute(PLAIN).all()),
        (list[Row], lambda c: c.execute(PLAIN).all()),
        (Sequence[Row[Any]], lambda c: c.execute(PLAIN).all()),
        (Sequence[Row[tuple[int, str]]], lambda c: c.execute(NAMES).all()),
        (list[Row[tuple[int, Any]]], lambda c: c.execute(ENUMS.where(P.id < 0)).all()),
        (list[Row[tuple[int, Kind]]], lambda c: c.execute(ENUMS).all()),
        # What a column is annotated as need not be exact.
        (list[Row[tuple[int]]], lambda c: c.execute(PLAIN).all()),
        (list[Row[tuple[str, str]]], lambda c: c.execute(sa.select(sa.func.sum(P.price), P.name)).all()),
        (list[Row[tuple[int]]], lambda c: c.execute(sa.text("select 1 as a union all select 'x'")).all()),
        (list[Row[tuple[int, ...]]], lambda c: c.execute(PLAIN).all()),
        (Row, lambda c: c.execute(PLAIN).first()),
        (Row[tuple[int, str]], lambda c: c.execute(NAMES).first()),
        (Row | None, lambda c: c.execute(PLAIN).first()),
        (Row | None, lambda c: c.execute(PLAIN.where(P.id < 0)).first()),
        (
            list[Row | None],
            lambda c: [c.execute(PLAIN).first(), None, c.execute(ENUMS.with_only_columns(P.id)).first()],
        ),
        (Sequence[RowMapping], lambda c: c.execute(PLAIN).mappings().all()),
        (RowMapping, lambda c: c.execute(PLAIN).mappings().first()),
        (dict[int, Row], lambda c: {row.id: row for row in c.execute(PLAIN)}),
        (Mapping[uuid.UUID, list[Row]], lambda c: {uuid.UUID(int=1): c.execute(PLAIN).all()}),
        (tuple[Sequence[Row], int], lambda c: (c.execute(PLAIN).all(), 3)),
        (tuple[Row, ...], lambda c: tuple(c.execute(PLAIN))),
        (tuple[Sequence[Row], Any] | None, lambda c: (c.execute(PLAIN).all(), decimal.Decimal(1))),
        # Two columns of one name, and names that rows have themselves.
        (
            list[Row],
            lambda c: c.execute(sa.text("select 1 as id, 2 as id, 3 as 'a b', 4 as count, 5 as _data")).all(),
        ),
        (
            Row,
            lambda c: c.execute(
                sa.select(sa.literal(dt.timedelta(-1, 3)).label("x"), sa.literal(dt.time(1)))
            ).one(),
        ),
        # Scalars need nothing of this.
        (Sequence[int], lambda c: c.scalars(sa.select(P.id)).all()),
        (Sequence[decimal.Decimal], lambda c: c.scalars(sa.select(P.price)).all()),
        (Kind | None, lambda c: c.scalar(sa.select(P.kind))),
    ],
)
def test_rows_come_back_equal(returns: Any, ask: Any, connection: sa.Connection) -> None:
    """24. As rows: values, types, attributes, mapping, hash; one, many, or inside of collections."""
    made, result = codec(returns), ask(connection)
    back = made.decode(memoryview(b"head" + made.encode(result))[4:])
    assert back == result
    assert type(back) is type(result)
    assert repr(back) == repr(result)
    if isinstance(back, list) and all(isinstance(row, Row) for row in back):
        for row, original in zip(back, result, strict=True):
            assert type(row) is type(original)
            assert row._fields == original._fields
            assert [type(value) for value in row] == [type(value) for value in original]
            assert row._mapping == original._mapping
            if row._fields:
                assert getattr(row, row._fields[0]) == getattr(original, row._fields[0])
    assert not made.immutable or not isinstance(back, list | Row | RowMapping)


def test_a_row_that_came_back_is_used_like_any(connection: sa.Connection) -> None:
    """24. Attributes, unpacking, index, slices, `_asdict`, hash and pickle."""
    original = connection.execute(NAMES).all()
    made = codec(Sequence[Row[tuple[int, str]]])
    row = made.decode(made.encode(original))[0]
    number, name = row
    assert (row.id, row.name, row[0], row[:1], row._asdict()) == (
        number,
        name,
        1,
        (1,),
        {"id": 1, "name": "p0"},
    )
    assert hash(row) == hash(original[0])
    assert pickle.loads(pickle.dumps(row)) == row
    with pytest.raises(AttributeError):
        _ = row.price


def test_rows_say_their_names_once(connection: sa.Connection) -> None:
    """Names are written once for a list, so it is no larger than tuples are."""
    rows = connection.execute(PLAIN).all()
    named, plain = codec(list[Row]).encode(rows * 50), codec(list).encode([tuple(row) for row in rows * 50])
    assert len(named) < len(plain)
    assert named.count(b"price") == 1


@dataclasses.dataclass
class Page:
    rows: Sequence[Row[Any]]


@pytest.mark.parametrize("returns", [Page, list[Page], Row | int, set[Row]])
def test_where_rows_cannot_be_read_back(returns: Any) -> None:
    """24. It is said when the function is defined, with what to do."""
    with pytest.raises(ConfigurationError, match=r"^f: rows in .*cannot be read back; return them in a list"):
        codec(returns)


def test_what_are_no_rows_of_one_query_is_refused(connection: sa.Connection) -> None:
    """24. On the first call, not on the second."""
    row, other = connection.execute(PLAIN).first(), connection.execute(ENUMS).first()
    for returns, result in [
        (list[Row], [(1, 2)]),
        (list[Row], (row,)),
        (list[Row], [row, other]),
        (list[Row], connection.execute(NAMES).all()[:1] + connection.execute(ENUMS).all()[:1]),
        (list[Row], [connection.execute(sa.text(f"select 1 as {name}")).one() for name in "ab"]),
        (list[Row], row),
        (Row, None),
        (Row, (1,)),
        (list[Row], [None]),
        (list[RowMapping], [{"a": 1}]),
        (dict[int, Row], [row]),
        (tuple[Row, Row], (row,)),
        (list[Row], [other]),  # an enum, and nothing says of which class
        (list[Row[tuple[int, str]]], [other]),
        (list, [row]),  # nothing says that it is a row
    ]:
        with pytest.raises(UncacheableResult, match=r"^f: a \w+ result cannot be cached, .*annotate it"):
            codec(returns).encode(result)


def test_a_row_of_orm_objects_is_refused(connection: sa.Connection) -> None:
    """24. With the cure: when it is defined if the annotation says so, else when it comes."""
    with Session(connection) as session:
        rows = session.execute(sa.select(Product, Product.id)).all()
        with pytest.raises(UncacheableResult, match=r"Product objects.*select the columns"):
            codec(Sequence[Row]).encode(rows)
    with pytest.raises(ConfigurationError, match=r"Product objects.*select the columns"):
        codec(Sequence[Row[tuple[Product, int]]])


def test_bytes_that_are_no_table() -> None:
    """24. Another type's bytes are an error that the cache knows, never a row."""
    kinds: list[Any] = [Row, Row[tuple[int, ...]], Row[tuple[Mixed]]]
    reads = [codec(list[kind]).decode for kind in kinds]  # type: ignore[valid-type]
    wires: list[Any] = [
        [1],
        [["a"], "i", [["x"]]],
        [["a"], "q", [[1]]],
        [["a", "b"], "i", [[1]]],
        [],
        [["a"], "a", [[1]]],
    ]
    for read in reads:
        for wire in wires:
            with pytest.raises(UNREADABLE):
                read(msgspec.msgpack.encode(wire))


@pytest.mark.parametrize("kind", ["rows", "row", "result", "scalars", "coroutine"])
def test_what_is_no_data_yet_is_refused_with_the_cure(kind: str, connection: sa.Connection) -> None:
    """24. Rows without their annotation, a result that was not read, a coroutine that was not awaited."""

    def untyped(): ...  # type: ignore[no-untyped-def]

    async def later() -> int:
        return 1

    result: Any = connection.execute(sa.select(sa.literal(1)))
    made, words = {
        "rows": (result.all, r"annotate it, such as -> Sequence\[Row\[int, str\]\]"),
        "row": (result.one, r"annotate it, such as -> Row\[int, str\]"),
        "result": (lambda: result, r"return what its \.all\(\) gives"),
        "scalars": (result.scalars, r"return what its \.all\(\) gives"),
        "coroutine": (later, "await it in the function"),
    }[kind]
    with pytest.raises(UncacheableResult, match=words):
        codec_for(untyped, name="untyped").encode(made())
