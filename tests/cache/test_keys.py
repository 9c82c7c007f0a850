"""Keys: one call has one key, two calls have two."""

import dataclasses
import datetime as dt
import decimal
import enum
import os
import subprocess
import sys
import uuid
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import flask
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session
from starlette import responses
from starlette.requests import Request
from starlette.websockets import WebSocket

from scalekit.cache.keys import Keys
from scalekit.cache.spelling import Unspeakable, spell
from scalekit.errors import ConfigurationError, UncacheableArgument


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Other:
    x: int
    y: int


class Pair(NamedTuple):
    x: int
    y: int


class Struct(msgspec.Struct, frozen=True):
    x: int


def function(a: Any, b: Any = 2, *rest: Any, c: Any = None, **more: Any) -> None: ...


def key(*args: Any, **kwargs: Any) -> str:
    keys = Keys(function, name="f")
    return keys.key(keys.bind(args, kwargs))[0]


def test_one_call_written_differently() -> None:
    """18. Positional, by keyword, with a default spelled out: the same key."""
    assert key(1) == key(a=1) == key(1, 2) == key(1, b=2) == key(b=2, a=1) == key(1, c=None)
    assert key(1, x=1, y=2) == key(1, y=2, x=1)
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key({1, 2, 3}) == key({3, 2, 1})


PARIS, MADRID = zoneinfo.ZoneInfo("Europe/Paris"), zoneinfo.ZoneInfo("Europe/Madrid")
DIFFERENT = [
    1,
    1.0,
    True,
    "1",
    b"1",
    None,
    0,
    False,
    "",
    b"",
    -0.0,
    10**5000,
    -(10**5000),
    decimal.Decimal("1"),
    decimal.Decimal("1.0"),
    1 + 0j,
    bytearray(b"1"),
    (),
    [],
    {},
    set(),
    frozenset(),
    (1,),
    [1],
    (1, 2),
    ((1,), 2),
    (1, (2,)),
    [[], [[]]],
    [[[]], []],
    {1},
    frozenset({1}),
    {1: 2},
    {2: 1},
    {"a": None},
    {"a": {}},
    ("x:b:y", "z"),
    ("x", "y:b:z"),
    ("ab", "c"),
    ("a", "bc"),
    Colour.RED,
    Shade.RED,
    "red",
    Point(1, 2),
    Other(1, 2),
    Pair(1, 2),
    Struct(1),
    dt.date(2024, 1, 1),
    dt.datetime(2024, 1, 1),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 1, 1, tzinfo=PARIS),
    dt.datetime(2024, 1, 1, tzinfo=MADRID),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=PARIS),
    dt.time(1),
    dt.timedelta(1),
    uuid.UUID(int=1),
    "00000000-0000-0000-0000-000000000001",
    "\ud800",
]


def test_values_and_types_are_told_apart() -> None:
    """18. No two of these share a key, as an argument alone or inside a list."""
    assert len({key(value) for value in DIFFERENT}) == len(DIFFERENT)
    assert len({key([value]) for value in DIFFERENT}) == len(DIFFERENT)


def test_fields_count_by_their_names() -> None:
    """18. While a release is rolled out, servers may have the fields of one class in another order."""
    before, after = (
        dataclasses.make_dataclass("Range", fields, namespace={"__module__": "shop"})
        for fields in (["low", "high"], ["high", "low"])
    )
    assert key(before(low=1, high=2)) != key(after(low=2, high=1))
    assert key(before(low=1, high=2)) == key(before(1, 2))


def test_the_place_of_a_value_counts() -> None:
    """18. The same values in other parameters are another call."""
    assert (
        len({key(1, 2, 3), key(1, 2, c=3), key(1, 3, 2), key(1, 2, z=3), key((1, 2, 3)), key(1, 2, (3,))})
        == 6
    )


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def exact(value: Any) -> Any:
    """A form in which only the same value of the same type is equal."""
    if isinstance(value, dict):
        return ("dict", frozenset((exact(item), exact(value[item])) for item in value))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(exact, value))
    return (type(value).__name__, repr(value))


@given(values, values)
def test_no_collisions_over_nested_values(one: Any, other: Any) -> None:
    """18. Two values are spelled alike if and only if they are the same value of the same types."""
    assert (spell(one) == spell(other)) == (exact(one) == exact(other))


def test_a_key_is_short_and_printable() -> None:
    """20. Whatever the arguments and the function's name: at most 150 printable ASCII characters."""
    keys = Keys(function, name="ünïcode." + "x" * 500)
    made = keys.key(keys.bind(("\n\x00é" * 10_000,), {}))[0]
    assert len(made) <= 150
    assert made.isascii()
    assert made.isprintable()
    assert " " not in made


def test_functions_have_their_own_keys() -> None:
    """18, 24. The whole name counts, also where what is readable of it is cut; so does the return type."""
    names = ["f", "g", "x" * 200, "x" * 201]
    made = {Keys(function, name=name).key({"a": 1})[0] for name in names}
    made.add(Keys(function, name="f", fingerprint="builtins.int").key({"a": 1})[0])
    assert len(made) == len(names) + 1


def test_keys_are_the_same_on_every_server() -> None:
    """18. Another process with another hash seed makes the same key."""
    code = (
        "from tests.cache.test_keys import *\n"
        "print(key({'b', 'a', 'c'}, {'x': 1, 'y': Point(1, 2)}, Colour.RED))"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert made == {key({"b", "a", "c"}, {"x": 1, "y": Point(1, 2)}, Colour.RED) + "\n"}


# What a class is called and where it comes from decides, so nothing has to be connected.
CALLERS_OWN = [
    Session,
    AsyncSession,
    Connection,
    AsyncConnection,
    type("Mine", (Session,), {}),
    Request,
    WebSocket,
    responses.Response,
    responses.JSONResponse,
    flask.Request,
    flask.Response,
]


@pytest.mark.parametrize("cls", CALLERS_OWN)
def test_what_belongs_to_the_caller_is_left_out(cls: Any) -> None:
    """19. Whose it is does not change the question; the values come back for those who need them."""
    keys = Keys(lambda own, a: None, name="f")
    one, other = cls.__new__(cls), cls.__new__(cls)
    first, left_out = keys.key(keys.bind((one, 1), {}))
    assert [id(value) for value in left_out] == [id(one)]
    assert first == keys.key(keys.bind((other, 1), {}))[0]
    assert first == keys.key(keys.bind((None, 1), {}))[0]
    assert first != keys.key(keys.bind((one, 2), {}))[0]


class Unknown:
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Unknown(), "Unknown"),
        ([1, {"a": Unknown()}], "Unknown"),
        (lambda: 1, "function"),
        (type("Str", (str,), {})("x"), "Str"),
        (iter(()), "iterator"),
    ],
)
def test_an_argument_without_a_stable_key_is_an_error(value: Any, kind: str) -> None:
    """19. It names the function, the parameter, the type and the cure."""
    with pytest.raises(UncacheableArgument, match=r"f\(c=...\).*ignore=\('c',\)") as caught:
        key(1, c=value)
    assert caught.value.parameter == "c"
    assert kind in caught.value.type_name


class Wanted(pydantic.BaseModel):
    limit: int = 10
    _private: int = pydantic.PrivateAttr(default=1)


class Filter(pydantic.BaseModel):
    limit: int = 10


class Other(pydantic.BaseModel):
    limit: int = 10


class Open(pydantic.BaseModel, extra="allow"):
    limit: int = 10


def test_models() -> None:
    """18, 19. A pydantic model is its class and its fields; one that holds more has no stable key."""
    assert spell(Filter(limit=3)) == spell(Filter(limit=3)) != spell(Filter(limit=4))
    assert spell(Filter()) != spell(Other())
    assert spell(Open()) == spell(Open(limit=10))
    for more in (Open(more=1), Wanted()):  # type: ignore[call-arg]
        with pytest.raises(Unspeakable):
            spell(more)


def test_a_value_that_contains_itself_is_an_error() -> None:
    """19. Not a crash."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UncacheableArgument, match="nested more than"):
        key(loop)


def test_ignored_parameters() -> None:
    """19. They may hold anything and change nothing; a name that is none is an error at start-up."""
    keys = Keys(function, name="f", ignore=("b", "more"))
    made = {keys.key(keys.bind((1, b), {"extra": b}))[0] for b in (1, 2, Unknown())}
    assert len(made) == 1
    with pytest.raises(ConfigurationError, match="'nope'"):
        Keys(function, name="f", ignore=("nope",))


async def annotated(session: "AsyncSession | None", a: int, b: int = 2) -> None: ...


def test_a_question_needs_no_session() -> None:
    """19, 27. To invalidate, what does not enter the key may be left out; what does may not."""
    keys = Keys(annotated, name="f")
    whole = keys.key(keys.bind((AsyncSession(), 1), {}))[0]
    for args, kwargs in [
        ((1,), {}),
        ((), {"a": 1}),
        ((AsyncSession(), 1), {}),
        ((1, 2), {}),
        ((), {"a": 1, "session": AsyncSession()}),
    ]:
        assert keys.key(keys.bind_question(args, kwargs))[0] == whole
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        keys.bind_question((), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        keys.bind_question((1,), {"z": 1})


def question(keys: Keys, *args: Any, **kwargs: Any) -> str:
    return keys.key(keys.bind_question(args, kwargs))[0]


def call(keys: Keys, *args: Any, **kwargs: Any) -> str:
    return keys.key(keys.bind(args, kwargs))[0]


def test_a_session_that_is_missing_makes_no_other_key() -> None:
    """19. Given, left out or None, in a call and in a question, with an annotation and without."""

    def typed(a: str, session: Session | None = None) -> None: ...

    def bare(a: str, session=None) -> None: ...  # type: ignore[no-untyped-def]

    for function in (typed, bare):
        keys = Keys(function, name="f")
        made = {
            make(keys, *args)
            for _ in range(2)  # no matter what was called before
            for make in (call, question)
            for args in (("x",), ("x", None), ("x", Session()))
        }
        assert len(made) == 1
        assert question(keys, "y") not in made


def test_a_question_may_leave_out_any_of_several() -> None:
    """19, 27. A value that belongs to the caller goes where one is expected; any other to the question."""

    def several(request: Request, session: Session | None, a: str = "all", *, log: Any = None) -> None: ...

    keys = Keys(several, name="f", ignore=("log",))
    request, session = Request({"type": "http"}), Session()
    whole = call(keys, request, session, "x")
    for args in ((request, session, "x"), (request, "x"), (session, "x"), ("x",), (request, None, "x")):
        assert question(keys, *args) == question(keys, *args, log=1) == whole
    assert question(keys, "x", session=session, request=request) == whole
    assert question(keys) == question(keys, request) == call(keys, request, session) != whole
    with pytest.raises(TypeError, match="too many positional arguments"):
        question(keys, "x", "y")


def test_a_question_does_not_depend_on_earlier_calls() -> None:
    """27. A parameter that nothing says to be a session has to be given, after a call as before it."""
    keys = Keys(lambda session, a: None, name="f")
    for _ in range(2):
        with pytest.raises(TypeError, match=r"missing a required argument.*annotated as a session"):
            question(keys, a=1)
        assert call(keys, Session(), 1) == question(keys, Session(), 1)


def test_data_where_a_session_may_be_counts() -> None:
    """19. A parameter may take either; then what it was given is a part of the question."""

    def either(source: "Session | str", a: int) -> None: ...

    def unresolved(source: "Response", a: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function in (either, unresolved):
        keys = Keys(function, name="f")
        assert call(keys, "one", 1) == question(keys, source="one", a=1) != call(keys, "two", 1)
    keys = Keys(either, name="f")
    assert call(keys, "one", 1) == question(keys, "one", 1)
    assert call(keys, Session(), 1) == question(keys, Session(), 1)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        question(keys, 1)


@pytest.mark.parametrize(
    ("annotation", "optional"),
    [
        (Session, True),
        (Session | None, True),
        (AsyncSession | Session, True),
        (scoped_session[Session], True),
        (Annotated[Session, "from the framework"], True),
        (Annotated[Session | None, "from the framework"], True),
        ("orm.AsyncSession | None", True),
        (Session | int, False),
        (list[Session], False),
        (type[Session], False),
        (Any, False),
        (int, False),
    ],
)
def test_what_an_annotation_says(annotation: Any, optional: bool) -> None:
    """19, 27. A parameter for a session and nothing else may be left out of a question."""

    def function(session, a): ...  # type: ignore[no-untyped-def]

    function.__annotations__["session"] = annotation
    keys = Keys(function, name="f")
    if optional:
        assert question(keys, 1) == call(keys, Session(), 1)
    else:
        with pytest.raises(TypeError, match="missing a required argument"):
            question(keys, 1)


@dataclasses.dataclass
class Base:
    x: int


@dataclasses.dataclass
class Decorated(Base):
    y: int


class Extended(Base):
    def __init__(self, x: int, more: str) -> None:
        super().__init__(x)
        self.more = more


class Further(Pair):
    """A named tuple with an attribute."""

    more: str


class Plainer(Pair):
    """A named tuple with nothing but methods."""

    __slots__ = ()


class Zone(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)


class Named(Zone):
    def __repr__(self) -> str:
        return "Named()"


def test_what_a_subclass_adds_is_not_overlooked() -> None:
    """18, 19. Subclasses that can carry more than their base shows are refused."""
    further = Further(1, 2)
    further.more = "x"
    for value in (Extended(1, "ann"), further):
        with pytest.raises(UncacheableArgument):
            key(value)
    assert len({key(Decorated(1, 2)), key(Point(1, 2)), key(Plainer(1, 2)), key(Pair(1, 2))}) == 4


def test_a_time_zone_without_a_name_is_an_error() -> None:
    """19. Its spelling would be its address in memory."""
    moment = dt.datetime(2024, 1, 1)
    places = (Path(place, "Europe/Paris") for place in zoneinfo.TZPATH)
    with next(place for place in places if place.exists()).open("rb") as file:
        nameless = zoneinfo.ZoneInfo.from_file(file)
    for zone in (Zone(), nameless):
        with pytest.raises(UncacheableArgument):
            key(moment.replace(tzinfo=zone))
    assert key(moment.replace(tzinfo=Named())) == key(moment.replace(tzinfo=Named()))


def test_an_impossible_call_is_pythons_own_error() -> None:
    """Binding says what Python would say."""

    def plain(a: int, /, b: int, *, c: int = 1) -> None: ...

    keys = Keys(plain, name="f")
    assert keys.bind((1, 2), {}) == keys.bind((1,), {"b": 2}) == {"a": 1, "b": 2, "c": 1}
    bad: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        ((1, 2, 3), {}),
        ((1, 2), {"b": 2}),
        ((1, 2), {"d": 2}),
        ((), {"a": 1, "b": 2}),
    ]
    for args, kwargs in bad:
        with pytest.raises(TypeError):
            keys.bind(args, kwargs)


def test_a_request_outside_the_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """19. It never enters the key, so one visitor gets what was computed for another: said when decorated."""

    def declared(session: Session, request: Request | None, number: int) -> int: ...  # type: ignore[empty-body]
    def quoted(request: "Missing | Request") -> int: ...  # type: ignore[empty-body, name-defined]  # noqa: F821
    def flask_s(request: flask.Request) -> int: ...  # type: ignore[empty-body]
    def fine(session: Session, response: responses.Response) -> int: ...  # type: ignore[empty-body]
    def loose(request, number=1): ...  # type: ignore[no-untyped-def]

    for function in (declared, quoted, flask_s):
        Keys(function, name=function.__name__)
        assert caplog.messages[-1].startswith(
            f"{function.__name__} takes a request, request, which is no part"
        )
        assert caplog.messages[-1].endswith("ignore=['request']")
    Keys(fine, name="fine")
    Keys(declared, name="declared", ignore=["request"])
    keys = Keys(loose, name="loose")
    assert len(caplog.messages) == 3
    for _ in range(2):
        request = Request({"type": "http", "headers": []})
        assert keys.key({"request": request, "number": 1})[1] == [request]
    assert len(caplog.messages) == 4
