"""Values of an application's own classes, as bytes and back."""

import abc
import dataclasses
import enum
import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.errors import ConfigurationError, SessionValueError
from scalekit.sessions import MemoryStore
from scalekit.sessions.codec import IMMUTABLE, Codec
from scalekit.sessions.values import Values
from tests.sessions import test_codec
from tests.sessions.shells import Shell


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("not", ["only", "strings"])
    CRIMSON = RED


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    ALL = READ | WRITE


@dataclass
class Address:
    street: Any
    tags: Any = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Money:
    amount: Any
    currency: Any = "EUR"


class Point(msgspec.Struct):
    x: Any
    y: Any = 0


@attrs.define(frozen=True)
class Line:
    start: Any
    end: Any = attrs.field(default=attrs.Factory(lambda line: line.start, takes_self=True))


class Profile(pydantic.BaseModel):
    name: Any
    level: Any = 1


TYPES = [Colour, Size, Rights, Address, Money, Point, Line, Profile]
CODEC = Codec(TYPES)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, enum.Enum):
        return a is b
    if type(a) in TYPES:
        names = Profile.model_fields if isinstance(a, Profile) else CODEC._shapes[type(a).__name__].take(a)[0]
        return a == b and all(same(getattr(a, name), getattr(b, name)) for name in names)
    return test_codec.same(a, b)


constants = (
    st.sampled_from([*Colour, *Size, *Rights, Rights(0)])
    | test_codec.atoms
    | st.builds(Money, test_codec.atoms, test_codec.atoms)
)
values = st.recursive(
    constants,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(test_codec.keys, inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(constants, max_size=3)
        | st.builds(Address, inner, inner)
        | st.builds(Money, inner, inner)
        | st.builds(Point, inner)
        | st.builds(Line, inner, inner)
        | st.builds(Profile, name=inner, level=inner)
    ),
    max_leaves=15,
)


@given(values)
def test_instances_come_back_as_they_were(value: Any) -> None:
    """18. Instances of registered classes survive, nested in each other and in lists, with what they hold."""
    assert same(CODEC.decode("key", CODEC.encode("key", value)), value)


@given(values)
def test_one_instance_has_one_encoding(value: Any) -> None:
    """26. What was read and not changed encodes to the bytes it came from, so it is not written again."""
    data = CODEC.encode("key", value)
    assert CODEC.encode("key", CODEC.decode("key", data)) == data


@given(values)
def test_only_what_may_have_changed_is_looked_at_again(value: Any) -> None:
    """26. What counts as constant has nothing inside that could have been changed in place."""

    def fixed(value: Any) -> bool:
        if isinstance(value, Money | Line):
            return all(
                fixed(getattr(value, name)) for name in CODEC._shapes[type(value).__name__].take(value)[0]
            )
        return type(value) in IMMUTABLE or isinstance(value, enum.Enum)

    assert CODEC.constant(value) is fixed(value)


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (Address("Main St"), lambda value: value.tags.add("home")),
        (Address("Main St"), lambda value: setattr(value, "street", "Side St")),
        (Address("Main St", None), lambda value: setattr(value, "street", "Side St")),
        (Money([1]), lambda value: value.amount.append(2)),
        (Point(1), lambda value: setattr(value, "y", 2)),
        (Line([1], 2), lambda value: value.start.append(2)),
        (Profile(name="Ann"), lambda value: setattr(value, "level", 2)),
        ([{"a": (Address("Main St"),)}], lambda value: value[0]["a"][0].tags.add("home")),
    ],
)
def test_a_change_inside_is_noticed(value: Any, change: Any) -> None:
    """26. A change deep inside of an instance that was handed out is written; looking at it is not."""
    values = Values({b"key": CODEC.encode("key", value)}, CODEC)
    found = values.get("key")
    assert not values.delta()
    change(found)
    change(value)
    assert values.delta().changed == {b"key": CODEC.encode("key", value)}


@pytest.mark.parametrize(
    "value", [Colour.RED, Address(1), Money(1), Point(1), Line(1), Profile(name="Ann"), Rights.ALL], ids=repr
)
def test_a_class_that_is_not_registered_is_refused(value: Any) -> None:
    """18. The message names the key, the class and the option that takes it."""
    name = type(value).__name__
    with pytest.raises(SessionValueError, match=rf"'profile'.*{name} is not known here.*types=\[{name}\]"):
        Codec().encode("profile", [value])


@pytest.mark.parametrize("cls", [Address, Colour, Point, Line, Profile, dict], ids=lambda cls: cls.__name__)
def test_a_class_in_place_of_an_instance_is_refused(cls: type) -> None:
    """18. Parentheses that were forgotten: the message names the class, and has them."""
    name = cls.__qualname__
    with pytest.raises(
        SessionValueError, match=rf"'item'.*{name} is a class; store an instance, {name}\(\.\.\.\)"
    ):
        CODEC.encode("item", [cls])


def test_a_subclass_of_a_registered_class_is_refused() -> None:
    """18. It would come back as its base."""

    @dataclass
    class Villa(Address):
        pool: bool = True

    with pytest.raises(SessionValueError, match="Villa is not known"):
        CODEC.encode("home", Villa("Main St"))


def coded(*state: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(12, msgspec.msgpack.encode(state)))


def test_the_stored_format_does_not_change() -> None:
    """18. Sessions outlive a deployment: what an earlier release wrote stays readable."""
    for value, stored in [
        (Colour.CRIMSON, coded("Colour", "RED")),
        (Rights.ALL, coded("Rights", ["READ", "WRITE"])),
        (Money(1, "USD"), coded("Money", {"amount": 1, "currency": "USD"})),
        (Point(1), coded("Point", {"x": 1, "y": 0})),
        (Line(1, 2), coded("Line", {"start": 1, "end": 2})),
        (Profile(name=1, level=1), coded("Profile", {"name": 1, "level": 1})),
        (Profile(name=1), coded("Profile", {"name": 1, "level": 1}, {"unset": ["level"]})),
    ]:
        assert CODEC.encode("key", value) == stored
        assert same(CODEC.decode("key", stored), value)


@pytest.mark.parametrize(
    ("stored", "problem", "cure"),
    [
        (coded("Basket", {}), "a class named 'Basket', which types= does not have", "add it"),
        (coded("Money", {"currency": "EUR"}), "a Money .* without its field 'amount'", "give that a default"),
        (coded("Point", {"y": 1}), "a Point .* without its field 'x'", "give that a default"),
        (coded("Line", {}), "a Line .* without its field 'start'", "give that a default"),
        (coded("Profile", {}), "a Profile .* without its field 'name'", "give that a default"),
        (coded("Money", {"amount": 1, "tax": 2}), "a Money with a field 'tax'", "give it back to the class"),
        (coded("Point", {"x": 1, "z": 1}), "a Point with a field 'z'", "give it back to the class"),
        (coded("Profile", {"name": 1, "age": 1}), "a Profile with a field 'age'", "give it back"),
        (coded("Colour", "GREEN"), "Colour has no member 'GREEN'", "add it as an alias"),
        (coded("Rights", ["READ", "RUN"]), "Rights has no member 'RUN'", "add it as an alias"),
    ],
)
def test_what_a_changed_class_cannot_take_is_kept(stored: bytes, problem: str, cure: str) -> None:
    """18. It is an error that names key, class and cure; the bytes stay until the key is set or deleted."""
    values = Values({b"cart": stored, b"other": CODEC.encode("other", 1)}, CODEC)
    with pytest.raises(
        SessionValueError, match=f"key 'cart' cannot be read: .*{problem}.*{cure}.*or delete it"
    ):
        values.get("cart")
    assert values.get("other") == 1
    assert not values.delta()
    assert values.fields[b"cart"] == stored
    values.put("cart", 1)
    assert set(values.delta().changed) == {b"cart"}


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (coded("Address", {"street": 1}), Address(1)),
        (coded("Money", {"amount": 1}), Money(1)),
        (coded("Point", {"x": 1}), Point(1)),
        (coded("Line", {"start": 1}), Line(1)),
        (coded("Profile", {"name": 1}), Profile(name=1)),
    ],
)
def test_a_field_that_was_added_has_its_default(stored: bytes, value: Any) -> None:
    """26. A new field with a default breaks no session, and reading an old one changes nothing."""
    values = Values({b"key": stored}, CODEC)
    assert same(values.get("key"), value)
    assert not values.delta()


def test_a_class_that_was_renamed() -> None:
    """18. It is read by its old names, written by the last one; to read it is no change."""
    old, stored = Codec({"Amount": Money}), coded("Amount", {"amount": 1, "currency": "EUR"})
    assert old.encode("key", Money(1)) == stored
    both = Codec({"Amount": Money, "Money": Money})
    values = Values({b"key": stored}, both)
    assert values.get("key") == Money(1)
    assert not values.delta()
    values.put("key", values.get("key"))
    assert values.delta().changed == {b"key": CODEC.encode("key", Money(1))}


ran: list[str] = []


@dataclass
class Careful:
    a: int

    def __post_init__(self) -> None:
        ran.append("dataclass")


class Checked(pydantic.BaseModel):
    a: int

    @pydantic.field_validator("a")
    @classmethod
    def double(cls, a: int) -> int:
        ran.append("pydantic")
        return a * 2


def test_reading_runs_no_constructor_and_no_validator() -> None:
    """18. The stored state is put into a bare instance: a validator that changes values does so once."""
    codec = Codec([Careful, Checked])
    checked = Checked(a=2)
    data = codec.encode("key", [Careful(1), checked])
    ran.clear()
    assert codec.decode("key", data) == [Careful(1), checked]
    assert ran == ["dataclass"]  # the one that this test has made to compare with
    assert checked.a == 4


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int = 1
    _seen: list[int] = pydantic.PrivateAttr(default_factory=list)

    @functools.cached_property
    def twice(self) -> int:
        return self.a * 2


def test_a_model_keeps_all_of_its_state() -> None:
    """18. Which fields were set, what was allowed beside them and private attributes come back, too."""
    codec = Codec([Open])
    for model in (Open(), Open(a=1), Open(b=UUID(int=1))):  # type: ignore[call-arg]
        model._seen.append(5)
        assert model.twice == 2
        back = codec.decode("key", codec.encode("key", model))
        assert (back, back._seen, back.twice) == (model, [5], 2)
        assert back.model_fields_set == model.model_fields_set
        assert back.model_extra == model.model_extra
        back.c = 1


@dataclass
class Loose:
    a: int

    @functools.cached_property
    def twice(self) -> int:
        return self.a * 2


def test_state_beside_the_fields_is_not_lost() -> None:
    """18. An attribute that is no field is refused, unless the class can make it again."""
    codec, loose = Codec([Loose]), Loose(1)
    assert loose.twice == 2
    assert codec.decode("key", codec.encode("key", loose)) == loose
    loose.b = 1  # type: ignore[attr-defined]
    with pytest.raises(SessionValueError, match="an attribute 'b' that is no field"):
        codec.encode("key", loose)
    del loose.a
    with pytest.raises(SessionValueError, match="a field of Loose is not set"):
        codec.encode("key", loose)
    with pytest.raises(SessionValueError, match="a Profile in it lacks fields"):
        CODEC.encode("key", Profile.model_construct())


def test_bits_without_a_name_are_refused() -> None:
    """18. What no member stands for could not be read again."""

    class Bits(enum.IntFlag):
        ONE = 1

    codec = Codec([Bits])
    assert codec.decode("key", codec.encode("key", Bits.ONE)) is Bits.ONE
    with pytest.raises(SessionValueError, match="has a bit that"):
        codec.encode("key", Bits(5))


@given(st.sampled_from([cls.__name__ for cls in TYPES]), st.lists(values | st.text(), max_size=3))
def test_garbage_builds_registered_types_only(name: str, state: list[Any]) -> None:
    """18. Whatever state a store claims for a class, reading gives an instance of it or a clear error."""
    data = msgspec.msgpack.encode(
        msgspec.msgpack.Ext(
            12, msgspec.msgpack.encode([name, *(msgspec.Raw(CODEC.encode("", item)) for item in state)])
        )
    )
    try:
        value = CODEC.decode("cart", data)
    except SessionValueError as error:
        assert error.key == "cart"  # noqa: PT017
    else:
        assert type(value).__name__ == name


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    content: T


class Crate(pydantic.BaseModel, Generic[T]):
    content: T


def test_generic_classes() -> None:
    """18. A generic dataclass is stored by its class, a generic model by each that pydantic makes of it."""
    codec = Codec([Box, Crate[int]])
    for value in (Box(Decimal(1)), Crate[int](content=1)):
        assert codec.decode("key", codec.encode("key", value)) == value


class Abstract(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


@dataclass
class Shape(Abstract):
    a: int


@dataclass
class Fault(Exception):
    a: int


class Inherited(Address):
    pass


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([object], "object.*is no dataclass"),
        ([Inherited], "Inherited.*is no dataclass"),
        ([Shape], "Shape.*no instance can be made"),
        ([Fault], "Fault.*no instance can be made"),
        ([Decimal], "Decimal, which can be stored without"),
        ([str], "str, which can be stored without"),
        ([Box[int]], "takes classes, not .*Box"),
        (["Address"], "takes classes, not 'Address'"),
        ([Address(1)], "takes classes, not Address"),
        (Address, "types= must be a list, not the class Address"),
        ("Address", "types= must be a list, not str"),
        ([Money, Address, Money], "Money twice.*'Money': "),
        ([Money, dataclasses.make_dataclass("Money", ["a"])], "Money twice"),
        ({"": Money}, "the name ''"),
        ({1: Money}, "the name 1"),
        ({"Money": Money(1)}, "takes classes, not Money"),
    ],
)
def test_what_cannot_be_registered_is_told_at_once(types: Any, message: str) -> None:
    """18. A class that no session can hold is an error of the set-up, in words."""
    with pytest.raises(ConfigurationError, match=message):
        Codec(types)


def test_pydantic_is_not_imported_for_others() -> None:
    """18. Who registers no model of pydantic does not need it."""
    code = (
        "import sys, dataclasses; from scalekit.sessions.codec import Codec\n"
        "Money = dataclasses.make_dataclass('Money', ['a']); codec = Codec([Money])\n"
        "print(codec.decode('', codec.encode('', Money(1))), {'pydantic', 'attrs'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "Money(a=1) set()"


def test_every_framework_takes_types(make_shell: Callable[..., Shell]) -> None:
    """18. With `types=[...]`, instances go from request to request, and a change inside of one is saved."""
    visitor = make_shell(types=[Address, Colour, Money]).visitor()
    visitor(lambda session: session.update(home=Address(Money(Decimal("1.10"))), colour=Colour.RED))
    visitor(lambda session: session["home"].tags.add("new"))
    assert visitor(lambda session: session["home"] == Address(Money(Decimal("1.10")), {"new"})) is True
    assert visitor(lambda session: session["colour"] is Colour.RED) is True


def test_a_field_that_is_added_while_servers_are_replaced(make_shell: Callable[..., Shell]) -> None:
    """18. Servers of the old release read what new ones only read, and lose nothing of the rest."""
    store = MemoryStore()
    after = dataclasses.make_dataclass("Item", [("a", int), ("b", int, field(default=0))])
    before = dataclasses.make_dataclass("Item", [("a", int)])
    old = make_shell(store, types=[before]).visitor()
    old(lambda session: session.update(item=before(1)))
    new = make_shell(store, types=[after]).visitor(cookie=old.cookie)

    assert new(lambda session: [session["item"].a, session["item"].b]) == [1, 0]
    assert old(lambda session: session["item"].a) == 1

    def change(session: Any) -> None:
        session["item"].b = 5

    def look(session: Any) -> Any:
        with pytest.raises(
            SessionValueError, match=r"'item' cannot be read: .* field 'b', .* or not yet on this server"
        ):
            session["item"]
        session["other"] = 1

    new(change)
    old(look)
    assert new(lambda session: [session["item"] == after(1, 5), session["other"]]) == [True, 1]


def test_a_server_that_does_not_know_a_class_keeps_it(make_shell: Callable[..., Shell]) -> None:
    """18. A server of another release fails to read the key, works with the others, and loses nothing."""
    store = MemoryStore()
    knows, other = make_shell(store, types=[Money]), make_shell(store)
    visitor = knows.visitor()
    visitor(lambda session: session.update(price=Money(1), a=1))
    stranger = other.visitor(cookie=visitor.cookie)

    def look(session: Any) -> Any:
        with pytest.raises(SessionValueError, match=r"'price'.*'Money', which types= does not have"):
            session["price"]
        session["a"] += 1
        return session["a"]

    assert stranger(look) == 2
    assert visitor(lambda session: [session["price"] == Money(1), session["a"]]) == [True, 2]
