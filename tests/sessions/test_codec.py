"""Values as bytes and back."""

import datetime as dt
import enum
from collections import OrderedDict, defaultdict, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from scalekit.errors import SessionValueError
from scalekit.sessions.codec import IMMUTABLE, decode, encode

offsets = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)
zones = (
    st.none() | st.just(dt.UTC) | offsets | st.sampled_from(["Europe/Berlin", "Asia/Kolkata"]).map(ZoneInfo)
)
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.times(timezones=st.none() | offsets)
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
)
keys = st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.none()
hashable = st.recursive(atoms, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.frozensets(hashable, max_size=4)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, set | frozenset):
        return a == b and {(type(item), item) for item in a} == {(type(item), item) for item in b}
    if isinstance(a, dt.datetime | dt.time):
        return a == b and a.fold == b.fold and str(a.tzinfo) == str(b.tzinfo)
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    return a == b


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    """Every value of the supported types survives, with its type, however nested."""
    assert same(decode("key", encode("key", value)), value)


@given(values)
def test_one_value_has_one_encoding(value: Any) -> None:
    """What was read and not changed encodes to the bytes it came from, so it is not written again."""
    data = encode("key", value)
    assert encode("key", decode("key", data)) == data


@given(st.sets(st.text(max_size=3) | st.integers(), max_size=8))
def test_sets_encode_alike_in_any_order(items: set[Any]) -> None:
    """The order in which a set happens to be iterated makes no difference."""
    assert encode("key", items) == encode("key", set(sorted(items, key=repr)))


@pytest.mark.parametrize(
    "value", [float("inf"), -0.0, Decimal("-Infinity"), Decimal("1.10"), 2**64, -(2**63) - 1, [2**64, 1]]
)
def test_numbers_at_the_edges(value: Any) -> None:
    """Infinities, signed zero, trailing zeros and integers beyond 64 bits are kept."""
    assert repr(decode("key", encode("key", value))) == repr(value)


def test_not_a_number_is_kept() -> None:
    """NaN stays NaN, as float and as Decimal."""
    assert str(decode("key", encode("key", [float("nan"), Decimal("NaN")]))) == str(
        [float("nan"), Decimal("NaN")]
    )


def test_a_moment_keeps_its_zone_and_its_fold() -> None:
    """The second 02:30 of the night when summer time ends stays the second, in its named zone."""
    moment = dt.datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = decode("key", encode("key", moment))
    assert (back.utcoffset(), back.fold, back.tzinfo) == (moment.utcoffset(), 1, ZoneInfo("Europe/Berlin"))


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


class Struct(msgspec.Struct):
    a: int


class Zone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Colour.RED,
        Number.ONE,
        Text("a"),
        Struct(1),
        Fraction(1, 2),
        1j,
        bytearray(b"a"),
        memoryview(b"a"),
        defaultdict(int),
        OrderedDict(),
        namedtuple("Point", "x")(1),
        range(3),
        iter([]),
        print,
        ValueError("no"),
        dt.datetime(2025, 1, 1, tzinfo=Zone()),
        {(1, 2): 3},
        {uuid4(): 1},
        {Text("a"): 1},
        "lone \ud800",
        {"\ud800": 1},
        {2**70: 1},
        [(2**70,), object()],
        [(2**70,), "\ud800"],
        [{2**70: 1}, object()],
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"a": (v,)}], ids=["bare", "list", "deep"]
)
def test_what_would_come_back_as_something_else_is_refused(value: Any, wrap: Any) -> None:
    """An unknown type or a subclass is an error that names the key, never a silent change or a pickle."""
    with pytest.raises(SessionValueError, match="'profile'") as caught:
        encode("profile", wrap(value))
    assert caught.value.key == "profile"


def test_a_large_key_is_named() -> None:
    """An integer key beyond 64 bits, which the format has no room for, is said to be the reason."""
    with pytest.raises(SessionValueError, match="more than 64 bits as a key"):
        encode("key", [2**70, {2**64: 1}])


def test_markup_stays_markup() -> None:
    """Jinja's Markup comes back as such, and a string stays a string, so that neither is escaped wrongly."""
    flashes = [("info", Markup("<b>Saved.</b>")), ("info", "<b>")]
    assert same(decode("key", encode("key", flashes)), flashes)
    assert encode("key", decode("key", encode("key", flashes))) == encode("key", flashes)


def test_the_error_names_the_type() -> None:
    """The message says which type it was and what to store instead."""
    with pytest.raises(SessionValueError, match=r"fractions\.Fraction is no plain data; store a str"):
        encode("share", [Fraction(1, 2)])


def test_a_value_that_contains_itself_is_refused() -> None:
    """A cycle is an error, not an endless loop."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(SessionValueError, match="contains itself"):
        encode("key", cycle)


@given(st.binary())
def test_garbage_is_a_clear_error(data: bytes) -> None:
    """Whatever bytes a store holds, reading gives plain data or an error that names the key."""
    try:
        value = decode("cart", data)
    except SessionValueError as error:
        assert error.key == "cart"  # noqa: PT017
    else:
        assert type(value) in IMMUTABLE | {list, dict, tuple, set, frozenset, Markup}


@given(st.integers(-128, 127), st.binary(max_size=20))
def test_extensions_of_others_are_a_clear_error(code: int, payload: bytes) -> None:
    """An extension that we did not write, or with a payload of another kind, runs nothing and is reported."""
    try:
        value = decode("cart", msgspec.msgpack.encode([msgspec.msgpack.Ext(code, payload)]))
    except SessionValueError as error:
        assert error.key == "cart"  # noqa: PT017
    else:
        assert type(value) is list


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/passwd", "Nowhere/City", "", 10**17])
def test_a_stored_zone_cannot_read_files(zone: Any) -> None:
    """A forged time zone name is refused by name, whatever file it points to."""
    payload = msgspec.msgpack.encode(["2025-01-01T00:00:00", 0, zone])
    with pytest.raises(SessionValueError):
        decode("key", msgspec.msgpack.encode(msgspec.msgpack.Ext(4, payload)))


def test_deep_garbage_does_not_crash() -> None:
    """A bomb of nested arrays is an error, not a crash of the interpreter."""
    with pytest.raises(SessionValueError):
        decode("key", b"\x91" * 100_000 + b"\x90")


PINNED: list[tuple[str, Any]] = [
    ("81a1619201c40178", {"a": [1, b"x"]}),
    ("c705019301a161c0", (1, "a", None)),
    ("d6029203a161", {"a", 3}),
    ("d5039101", frozenset({1})),
    (
        "c7240493b3323032352d31302d32365430323a33303a303001ad4575726f70652f4265726c696e",
        dt.datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    ),
    ("c7170493b3323032352d30312d30325430303a30303a30300000", dt.datetime(2025, 1, 2, tzinfo=dt.UTC)),
    ("c70a05323032352d30312d3032", dt.date(2025, 1, 2)),
    ("c70c0693a830313a30323a303300c0", dt.time(1, 2, 3)),
    ("d60793ff0005", dt.timedelta(days=-1, microseconds=5)),
    ("d80800000000000000000000000000000005", UUID(int=5)),
    ("d609312e3130", Decimal("1.10")),
    ("c7090a010000000000000000", 2**64),
    ("d60b3c62723e", Markup("<br>")),
]


@pytest.mark.parametrize(("stored", "value"), PINNED)
def test_the_stored_format_does_not_change(stored: str, value: Any) -> None:
    """Sessions outlive a deployment: what an earlier release wrote stays readable."""
    assert same(decode("key", bytes.fromhex(stored)), value)
    assert encode("key", value).hex() == stored
