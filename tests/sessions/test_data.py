"""Typed access to a session."""

import enum
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, Literal, NewType, TypedDict, TypeVar

import flask
import msgspec
import pydantic
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from scalekit.errors import (
    BackendUnavailable,
    ConfigurationError,
    SessionCommitted,
    SessionError,
    SessionValueError,
)
from scalekit.sessions import MemoryStore, SessionData
from scalekit.sessions.codec import Codec
from scalekit.sessions.fits import check_for
from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.session import Session
from scalekit.sessions.values import Delta, Values
from tests.sessions.shells import SECRET, Shell, Visitor
from tests.sessions.test_codec import values as plain


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Address:
    street: str
    zip: int | None = None


class Shop(SessionData):
    cart: list[str] = field(default_factory=list)
    theme: str = "light"
    address: Address | None = None
    colour: Colour = field(default=Colour.RED)
    nickname: str
    limit: ClassVar[int] = 5


def visited(data: dict[str, Any] | None = None) -> Session:
    """A session of a bare visitor, with the classes of these tests."""
    session = Session(None, https=False, codec=Codec([Address, Colour]))
    session.update(data or {})
    return session


@pytest.fixture
def types_of(make_shell: Callable[..., Shell]) -> Visitor:
    return make_shell(types=[Address, Colour]).visitor()


def test_attributes_are_keys(types_of: Visitor) -> None:
    """32. What is set through an attribute is the key of that name, with its type, in every framework."""

    def change(session: Session) -> None:
        shop = Shop.of(session)
        shop.theme, shop.address, shop.nickname = "dark", Address("Main St"), "Ann"
        shop.address.zip = 12345

    def check(session: Session) -> bool:
        shop = Shop.of(session)
        assert set(session) == {"theme", "address", "nickname"}
        assert (shop.theme, shop.nickname, shop.address) == ("dark", "Ann", Address("Main St", 12345))
        return session["address"] is shop.address

    types_of(change)
    assert types_of(check) is True


def test_a_default_that_is_read_is_not_stored(types_of: Visitor) -> None:
    """32. Reading defaults, mutable ones too, starts no session, sends no cookie and changes nothing."""

    def read(session: Session) -> list[Any]:
        shop = Shop.of(session)
        assert shop.cart is shop.cart
        return [shop.cart, shop.theme, shop.address, len(session), session.modified, "cart" in session]

    assert types_of(read) == [[], "light", None, 0, False, False]
    assert types_of.cookie is None
    types_of(lambda session: session.update(a=1))
    assert types_of(read)[3:] == [1, False, False]
    assert types_of(dict) == {"a": 1}


def test_a_default_that_is_changed_in_place_is_saved(types_of: Visitor) -> None:
    """32. `shop.cart.append(...)` is saved, on the first visit and after it."""
    types_of(lambda session: Shop.of(session).cart.append("tea"))
    types_of(lambda session: Shop.of(session).cart.append("cup"))
    assert types_of(dict) == {"cart": ["tea", "cup"]}


@pytest.mark.parametrize(
    "look",
    [
        lambda session: session["cart"] == ["tea"],
        lambda session: session.get("cart") == ["tea"],
        lambda session: dict(session) == {"cart": ["tea"]},
        lambda session: list(session) == ["cart"],
        lambda session: len(session) == 1,
        lambda session: "cart" in session,
        lambda session: session.modified,
        lambda session: Shop.of(session).cart == ["tea"],
        lambda session: session.pop("cart") == ["tea"],
    ],
)
def test_the_mapping_sees_a_changed_default(look: Callable[[Session], bool]) -> None:
    """32. A default that was changed is a value of the session, for every other way of looking at it."""
    session = visited()
    Shop.of(session).cart.append("tea")
    assert look(session) is True


def test_the_mapping_sees_no_unchanged_default() -> None:
    """32. For every other way of looking at it, the key is not there, and it can be set."""
    session = visited()
    assert Shop.of(session).cart == []
    with pytest.raises(KeyError):
        session["cart"]
    with pytest.raises(KeyError):
        del session["cart"]
    session["cart"] = ["set"]
    assert Shop.of(session).cart == ["set"]


def test_deleting_an_attribute_deletes_the_key() -> None:
    """32. Twice is once; the default is back, and the one that was handed out before is nobody's."""
    session = visited({"cart": ["tea"], "theme": "dark"})
    shop = Shop.of(session)
    del shop.cart, shop.cart, shop.theme
    assert (dict(session), shop.theme, shop.cart) == ({}, "light", [])
    held = shop.cart
    del shop.cart
    held.append("lost")
    assert (shop.cart, session.modified) == ([], False)
    shop.cart.append("tea")
    session.clear()
    held = shop.cart
    assert (held, session.modified) == ([], False)
    session.clear()
    held.append("lost")
    assert (shop.cart, session.modified) == ([], False)


def test_deleting_needs_no_readable_value() -> None:
    """32. What the message about an unreadable value says, works."""
    session = visited()
    session._values = Values({b"cart": b"\xc1"}, session._codec)
    shop = Shop.of(session)
    with pytest.raises(SessionValueError, match="'cart'"):
        shop.cart  # noqa: B018
    del shop.cart
    assert session._values.delta().removed == {b"cart"}


def test_an_attribute_without_a_default() -> None:
    """32. It is not there until it is set."""
    shop = Shop.of(visited())
    with pytest.raises(AttributeError, match=r"no 'nickname', and Shop\.nickname has no default"):
        shop.nickname  # noqa: B018
    assert (hasattr(shop, "nickname"), getattr(shop, "nickname", "nobody")) == (False, "nobody")
    shop.nickname = "Ann"
    assert shop.nickname == "Ann"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("theme", 5, r"Shop\.theme is str, and the value is of type int"),
        ("theme", None, r"Shop\.theme is str, and the value is of type NoneType"),
        ("cart", ["tea", 5], r"Shop\.cart is list\[str\], and the value is of type list"),
        ("cart", ("tea",), r"Shop\.cart is list\[str\], and the value is of type tuple"),
        ("address", {"street": "Main St"}, r"Shop\.address is .*Address | None.* of type dict"),
        ("address", Address(5), r"the value is of type Address whose street is of type int"),  # type: ignore[arg-type]
        ("colour", "red", r"Shop\.colour is Colour, and the value is of type str"),
    ],
)
def test_a_wrong_type_is_neither_read_nor_set(name: str, value: Any, message: str) -> None:
    """32. The error names key, expected type and cure; the value stays, and a right one may replace it."""
    session = visited({name: value, "other": 1})
    shop = Shop.of(session)
    with pytest.raises(
        SessionValueError, match=f"'{name}' cannot be read: .*{message}.*set it anew, delete it"
    ):
        getattr(shop, name)
    assert session[name] == value
    with pytest.raises(SessionValueError, match=f"'{name}' cannot be stored: .*{message}"):
        setattr(shop, name, value)
    delattr(shop, name)
    assert dict(session) == {"other": 1}


def test_a_wrong_item_is_found_when_it_is_read() -> None:
    """32. Also one that was put in behind the back of the annotation, in the same request."""
    shop = Shop.of(visited())
    shop.cart.append(5)  # type: ignore[arg-type]
    with pytest.raises(SessionValueError, match="'cart'"):
        shop.cart  # noqa: B018


def test_a_misspelt_attribute_is_an_error() -> None:
    """32. It would be an attribute of an object that nobody saves."""
    shop = Shop.of(visited())
    for name in ("thme", "_theme"):
        with pytest.raises(AttributeError, match=f"Shop has no attribute '{name}'; annotate it there"):
            setattr(shop, name, 1)
    for name in ("limit", "of", "_session"):
        with pytest.raises(AttributeError, match=rf"Shop\.{name} is no key of the session"):
            setattr(shop, name, 1)
    assert shop.limit == 5


def test_keys_merge_one_by_one(types_of: Visitor) -> None:
    """7. Two requests that set different attributes at once: both survive."""

    def outer(session: Session) -> None:
        shop = Shop.of(session)
        assert (shop.cart, shop.theme) == ([], "light")
        other = types_of.shell.visitor(cookie=types_of.cookie)
        other(lambda session: Shop.of(session).cart.append("tea"))
        shop.theme = "dark"

    types_of(lambda session: session.update(a=1))
    types_of(outer)
    assert types_of(dict) == {"a": 1, "theme": "dark", "cart": ["tea"]}


def test_what_others_wrote_replaces_an_unchanged_default() -> None:
    """7. A rotation that carries over what another request saved hands out that, not the default again."""
    values = Values()
    assert values.offer("cart", list) == []
    values.offer("seen", list).append(1)
    theirs = Delta({b"cart": Codec().encode("cart", ["tea"]), b"seen": Codec().encode("seen", [2])}, set())
    values.adopt(theirs)
    assert (values.offer("cart", list), values.get("seen")) == (["tea"], [1])
    assert set(values.delta().changed) == {b"seen"}


def test_a_default_goes_on_after_a_save() -> None:
    """25. What was handed out before a save is under watch after it, changed or not."""
    values = Values()
    cart, seen = values.offer("cart", list), values.offer("seen", list)
    cart.append("tea")
    values.settle(values.delta())
    assert not values.delta()
    cart.append("cup")
    seen.append(1)
    assert values.delta().changed == {
        b"cart": Codec().encode("cart", ["tea", "cup"]),
        b"seen": Codec().encode("seen", [1]),
    }


def test_a_changed_default_that_cannot_be_stored() -> None:
    """28. The save says so, with the key; looking does not."""
    values = Values()
    values.offer("cart", list).append(object())
    assert "cart" in values
    with pytest.raises(SessionValueError, match="'cart'"):
        values.delta()


def test_a_change_after_the_headers_is_told() -> None:
    """25. A default that is changed where no cookie can follow is not silently lost."""
    session = visited()
    shop = Shop.of(session)
    session._sealed = True
    shop.cart  # noqa: B018
    session._close()
    shop.cart.append("tea")
    with pytest.raises(SessionCommitted):
        session._close()


def test_types_are_known_after_a_session_ended() -> None:
    """18. What a log-in sets after another request has ended the session may be of registered types."""
    session = visited({"a": 1})
    session._gone(session._values)
    session.login("ann")
    session["home"] = Address("Main St")
    assert session.modified


class Down(MemoryStore):
    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Any:
        raise BackendUnavailable("the store is down", backend="memory")


def test_a_change_while_the_store_is_down_is_no_success(make_shell: Callable[..., Shell]) -> None:
    """27. Where the visitor is treated as nobody, a default can be read; changed, it is answered 503."""
    store = MemoryStore()
    visitor = make_shell(store).visitor()
    visitor(lambda session: session.update(theme="dark"))
    down = Down()
    shell = make_shell(down, on_error="anonymous")
    anonymous = shell.visitor(cookie=visitor.cookie)
    assert anonymous(lambda session: [Shop.of(session).cart, Shop.of(session).theme]) == [[], "light"]
    assert anonymous.visit(lambda session: Shop.of(session).cart.append("tea")).status == 503


@dataclass(frozen=True)
class Frozen:
    items: list[int]


class Shared(SessionData):
    made: list[int] = field(default_factory=list)
    literal: list[int] = []  # noqa: RUF012
    given: list[int] = field(default=[])
    nested: tuple[list[int]] = ([],)
    frozen: Frozen = Frozen([])
    struct: Address = Address("Main St")


def test_visitors_share_no_default() -> None:
    """32. Whatever can be changed in place is another object for each visitor, also within what is frozen."""
    codec = Codec([Address, Frozen])
    for _ in range(2):
        session = Session(None, https=False, codec=codec)
        data = Shared.of(session)
        assert not session.modified
        for items in (data.made, data.literal, data.given, data.nested[0], data.frozen.items):
            assert items == []
            items.append(1)
        assert data.struct.zip is None
        data.struct.zip = 5
        assert set(session) == {"made", "literal", "given", "nested", "frozen", "struct"}
        assert session["nested"] == ([1],)


@pytest.mark.parametrize("name", ["_hidden", "of"])
def test_names_that_cannot_be_keys(name: str) -> None:
    """32. They are told when the class is made."""
    with pytest.raises(TypeError, match=f"Bad.{name} cannot be a key"):
        type("Bad", (SessionData,), {"__annotations__": {name: int}})


class Base(SessionData, prefix="shop."):
    theme: str = "light"
    visits: int = 0


class Dark(Base):
    theme = "dark"
    size: int = 3

    def twice(self) -> int:
        return self.size * 2


def test_classes_can_be_built_upon() -> None:
    """32. A subclass has the keys of its base, may give another default, and keys may have a prefix."""
    session = visited({"theme": "of somebody else"})
    dark, base = Dark.of(session), Base.of(session)
    assert (dark.theme, base.theme, dark.size, dark.twice()) == ("dark", "light", 3, 6)
    dark.visits += 1
    dark.size = 4
    assert (base.visits, dict(session)) == (
        1,
        {"theme": "of somebody else", "shop.visits": 1, "shop.size": 4},
    )


class Wholesale(Base, prefix="wholesale."):
    size: int = 100

    @property
    def dozens(self) -> int:
        return self.size // 12

    @dozens.setter
    def dozens(self, value: int) -> None:
        self.size = value * 12

    @property
    def half(self) -> int:
        return self.size // 2


def test_a_prefix_is_for_the_keys_of_its_class() -> None:
    """32. What a base has annotated is the key that it is for the base, whatever the subclass's prefix."""
    session = visited()
    data = Wholesale.of(session)
    data.visits, data.size = 1, 2
    assert dict(session) == {"shop.visits": 1, "wholesale.size": 2}
    assert (Base.of(session).visits, Dark.of(session).size) == (1, 3)


def test_a_property_can_be_set() -> None:
    """32. A property of the class works as in any class: its setter sets keys, and without one it is read."""
    session = visited()
    data = Wholesale.of(session)
    data.dozens = 3
    assert (data.dozens, data.half, dict(session)) == (3, 18, {"wholesale.size": 36})
    with pytest.raises(AttributeError, match="half"):
        data.half = 1  # type: ignore[misc]
    with pytest.raises(SessionValueError, match=r"wholesale\.size"):
        data.dozens = "a"  # type: ignore[assignment]
    del data.size
    assert data.dozens == 8


def test_a_session_of_something_else_is_refused() -> None:
    """32. A plain dict, or the session of another middleware, could not notice a change."""
    with pytest.raises(SessionError, match=r"Shop\.of\(\) takes a session of scalekit, not builtins\.dict"):
        Shop.of({})
    with pytest.raises(TypeError, match=r"Shop\.of\(session\)"):
        Shop()


def test_flask_s_proxy() -> None:
    """32. `Shop.of(flask.session)` is of the session of this request, wherever it is taken."""
    app, kept = flask.Flask("tests"), list[Shop]()
    app.session_interface = ServerSessionInterface(MemoryStore(), secret_key=SECRET)

    @app.get("/")
    def add() -> Any:
        shop = Shop.of(flask.session)
        kept.append(shop)
        shop.cart.append("tea")
        return shop.cart

    client = app.test_client()
    client.get("/")
    assert client.get("/").json == ["tea", "tea"]
    assert [shop.cart for shop in kept] == [["tea"], ["tea", "tea"]]
    assert repr(kept[0]) == "<Shop of <FlaskSession live>>"


def bad(annotation: Any, default: Any = None) -> type[SessionData]:
    return type("Bad", (SessionData,), {"a": field(default=default), "__annotations__": {"a": annotation}})


class Shaped(typing.Protocol):
    a: int


@dataclass
class Lost:
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Callable[[], int], r"Bad\.a: a value of a session cannot be told to be"),
        (Shaped, r"Bad\.a: .*Shaped"),
        (type[int], r"Bad\.a: .*type\[int\]"),
        ("Nowhere", "an annotation of Bad names what is not there.*Nowhere"),
        (Lost, r"Bad\.a: .*Nowhere"),
        (int, r"Bad\.a is int, and its default is not"),
    ],
)
def test_annotations_that_say_nothing_of_a_value(annotation: Any, message: str) -> None:
    """32. What cannot be checked is an error at the first use of the class, not a value of any type."""
    with pytest.raises(ConfigurationError, match=message):
        bad(annotation).of(visited())


UserId = NewType("UserId", int)
T = TypeVar("T")


@dataclass
class Node(Generic[T]):
    value: T
    children: "list[Node[Any]]" = field(default_factory=list)
    size: int = 0


class Point(msgspec.Struct):
    x: int


class Model(pydantic.BaseModel):
    x: int


class Movie(TypedDict):
    title: str
    year: typing.NotRequired[int]


Names = typing_extensions.TypeAliasType("Names", dict[str, int])


@pytest.mark.parametrize(
    ("annotation", "fitting", "others"),
    [
        (Any, [None, 1, object()], []),
        (None, [None], [0]),
        (int, [1, True], ["1", 1.0, None]),
        (float, [1.0, 1], ["1", Decimal(1)]),
        (str | None, ["a", None], [b"a"]),
        (typing.Optional[str], ["a", None], [1]),  # noqa: UP045
        (Literal["a", 1], ["a", 1], ["b", True, 1.0, ["a"]]),
        (list, [[], [1]], [()]),
        (typing.List, [[], [1]], [()]),  # noqa: UP006
        (list[int], [[], [1]], [["a"], (1,), {1}, [1, None]]),
        (Sequence[int], [[1], (1,)], [{1}, ["a"]]),
        (set[str], [{"a"}], [{1}, ["a"], frozenset()]),
        (frozenset[str], [frozenset("a")], [{"a"}]),
        (dict[str, int], [{}, {"a": 1}], [{1: 1}, {"a": "b"}, []]),
        (Mapping[str, list[int]], [{"a": [1]}], [{"a": ["b"]}]),
        (tuple[int, ...], [(), (1, 2)], [("a",), [1]]),
        (tuple[int, str], [(1, "a")], [(1,), (1, "a", 2), ("a", 1)]),
        (tuple[()], [()], [(1,)]),
        (Annotated[int, "positive"], [1], ["a"]),
        (typing.Final[int], [1], ["a"]),
        (typing.Final, [1, "a"], []),
        (UserId, [1], ["a"]),
        (T, [1, "a"], []),
        (Colour, [Colour.RED], ["red"]),
        (Point, [Point(1)], [Point("a"), {"x": 1}]),  # type: ignore[arg-type]
        (Model, [Model(x=1)], [{"x": 1}]),
        (Node, [Node(1)], [Node(1, size=None)]),  # type: ignore[arg-type]
        (Node[int], [Node(1, [Node("a")])], [Node(1, [Node(1, [5])])]),  # type: ignore[list-item]
        (Movie, [{"title": "a"}, {"title": "a", "year": 1}], [{}, {"title": 1}, {"title": "a", "b": 1}, []]),
        (Names, [{"a": 1}], [1, {"a": "b"}]),
    ],
)
def test_what_fits_an_annotation(annotation: Any, fitting: list[Any], others: list[Any]) -> None:
    """32. The rules of a type checker, for values; nothing is converted."""
    check = check_for(annotation)
    assert [value for value in fitting if not check(value)] == []
    assert [value for value in others if check(value)] == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python has the `type` statement since 3.12")
def test_an_alias_may_name_itself() -> None:
    """32. As that of JSON does."""
    names: dict[str, Any] = {}
    exec("type Tree = dict[str, Tree] | int", names)
    check = check_for(names["Tree"])
    assert [check(value) for value in (1, {"a": {"b": 2}}, "a", {"a": {"b": "c"}})] == [
        True,
        True,
        False,
        False,
    ]


class Anything(SessionData):
    value: Any = None
    items: list[Any] = field(default_factory=list)


@given(plain, plain)
def test_any_value_comes_back_through_an_attribute(value: Any, item: Any) -> None:
    """32. Set, and appended to a default, saved and read by another request."""
    session = Session(None, https=False)
    data = Anything.of(session)
    data.value = value
    data.items.append(item)
    stored = session._values.delta().applied({})
    again = Session(None, https=False)
    again._values = Values(stored)
    read = Anything.of(again)
    assert (repr(read.value), repr(read.items)) == (repr(again["value"]), repr([again["items"][0]]))
    assert Values(stored).delta() == Delta({}, set())
    assert session._codec.encode("", read.value) == session._codec.encode("", value)
    assert session._codec.encode("", read.items) == session._codec.encode("", [item])


@given(st.lists(st.sampled_from(["read", "append", "delete", "raw", "set", "save"]), max_size=12))
def test_a_default_follows_its_model(steps: list[str]) -> None:
    """32. Whatever is done in any order, the session holds what a dictionary with `setdefault` would."""
    values, model, stored = Values(), dict[str, list[int]](), dict[bytes, bytes]()
    for number, step in enumerate(steps):
        if step == "read":
            assert values.offer("cart", list) == model.get("cart", [])
        elif step == "append":
            values.offer("cart", list).append(number)
            model.setdefault("cart", []).append(number)
        elif step == "delete":
            assert ("cart" in values) == ("cart" in model)
            if model.pop("cart", None) is not None:
                values.drop("cart")
        elif step == "raw":
            assert {key: values.get(key) for key in values} == model
            assert len(values) == len(model)
        elif step == "set":
            values.put("cart", [number])
            model["cart"] = [number]
        else:
            delta = values.delta()
            stored = delta.applied(stored)
            values.settle(delta)
            assert {name.decode(): Codec().decode("", data) for name, data in stored.items()} == model
