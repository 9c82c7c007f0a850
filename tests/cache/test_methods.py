"""Cached methods, classmethods, staticmethods and properties of a class, and the verbs on them."""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import ConfigurationError, UncacheableArgument


class Elsewhere(MemoryBackend):
    """As if it were another server's, so that a process tier is of use in front of it."""

    local = False


cache = Cache(Elsewhere(), local_entries=1000, local_ttl=100)


class Shop:
    """Each function returns how often it has run, with what it was given."""

    runs = 0
    written: Any = None

    def __init__(self, tenant: str = "") -> None:
        self.tenant = tenant

    @classmethod
    def run(cls, *given: Any) -> list[Any]:
        Shop.runs += 1
        return [Shop.runs, *given]

    @cache.query(ttl=60)
    def method(self, a: int, *, b: int = 2) -> list[Any]:
        """Documented."""
        return self.run(a, b)

    @cache.query(ttl=60)
    async def amethod(self, a: int, *, b: int = 2) -> list[Any]:
        return self.run(a, b)

    @cache.query(ttl=60, identity=lambda self: self.tenant)
    def own(self, a: int) -> list[Any]:
        return self.run(self.tenant, a)

    @cache.query(ttl=60)
    @classmethod
    def of_class(cls, a: int) -> list[Any]:
        return cls.run(cls.__name__, a)

    @classmethod
    @cache.query(ttl=60)
    def of_class_below(cls, a: int) -> list[Any]:
        return cls.run(cls.__name__, a)

    @cache.query(ttl=60, identity=lambda cls: cls.__name__)
    @classmethod
    async def of_each_class(cls, a: int) -> list[Any]:
        return cls.run(cls.__name__, a)

    @cache.query(ttl=60)
    @staticmethod
    def static(a: int) -> list[Any]:
        return Shop.run(a)

    @staticmethod
    @cache.query(ttl=60)
    def static_below(a: int) -> list[Any]:
        return Shop.run(a)

    @cache.query(ttl=60)
    @property
    def total(self) -> list[Any]:
        """A documented property."""
        return self.run()

    @property
    @cache.query(ttl=60, identity=lambda self: self.tenant)
    def total_below(self) -> list[Any]:
        return self.run(self.tenant)

    @cache.query(ttl=60, tags=["shop:{self}:{a}"], identity=lambda self: self.tenant)
    def tagged(self, a: int) -> list[Any]:
        return self.run(a)

    @cache.query(ttl=60)
    def unusual(this, a: int) -> list[Any]:
        return [a]


class Branch(Shop): ...


def given(result: list[Any]) -> list[Any]:
    return result[1:]


def test_self_is_no_part_of_the_key() -> None:
    """19. Two instances share a result, called on either, by place or by name."""
    one, other = Shop("one"), Branch("other")
    first = one.method(1)
    assert given(first) == [1, 2]
    assert other.method(a=1) == other.method(1, b=2) == Shop.method(one, 1) == first
    assert one.method(2) != first
    assert one.method.key(1) == other.method.key(a=1, b=2) == Shop.method.key(one, 1) != one.method.key(2)


def test_self_is_a_part_of_the_key_on_request() -> None:
    """19. What identity= makes of it tells instances apart."""
    one, again, other = Shop("one"), Shop("one"), Shop("other")
    first = one.own(1)
    assert given(first) == ["one", 1]
    assert again.own(1) == first
    assert given(other.own(1)) == ["other", 1]
    assert one.own.key(1) == again.own.key(1) != other.own.key(1)
    second = other.own(1)
    one.own.invalidate(1)
    assert other.own(1) == second
    assert one.own(1) != first


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (Shop("x").method, [7, 2]),
        (Shop("x").own, ["x", 7]),
        (Shop.of_class, ["Shop", 7]),
        (Branch().of_class, ["Branch", 7]),
        # From Python 3.13 on that is refused, see below.
        *([(Shop.of_class_below, ["Shop", 7])] if sys.version_info < (3, 13) else []),
        (Shop.static, [7]),
        (Shop().static_below, [7]),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_the_verbs(bound: Any, expected: list[Any]) -> None:
    """27. Each is called like the function itself: on an instance, or on the class, without self."""
    first = bound(7)
    assert given(first) == expected
    assert bound(7) == first
    ran = bound.bypass(7)
    assert given(ran) == expected
    assert ran != first
    assert bound(7) == first
    fresh = bound.refresh(7)
    assert fresh not in (first, ran)
    assert bound(7) == fresh
    assert bound.key(7) == bound.key(a=7) != bound.key(8)
    bound.invalidate(7)
    assert bound(7) not in (first, ran, fresh)
    bound.invalidate(7)  # for the next one, which may share the function


async def test_the_verbs_of_asynchronous_methods() -> None:
    """27. The same, awaited."""
    for bound, expected in ((Shop().amethod, [7, 2]), (Branch.of_each_class, ["Branch", 7])):
        first = await bound(7)
        assert given(first) == expected
        assert await bound(7) == first
        assert await bound.bypass(7) != first
        assert await bound(7) == first
        fresh = await bound.refresh(7)
        assert fresh != first
        assert await bound(7) == fresh
        await bound.invalidate(7)
        assert await bound(7) not in (first, fresh)
    assert await Shop.of_each_class(7) != await Branch.of_each_class(7)


def test_properties() -> None:
    """27. On either side of @property; the verbs take the instance."""
    one, other = Shop("one"), Shop("other")
    assert one.total == other.total
    total: Any = vars(Shop)["total"]
    assert total.key(one) == total.key(other)
    before = one.total
    assert total.refresh(one) == other.total != before
    total.invalidate(one)
    assert one.total != before
    assert Shop.total.__doc__ == "A documented property."
    with pytest.raises(AttributeError):
        one.total = 1  # type: ignore[misc]
    assert given(one.total_below) == ["one"]
    assert given(other.total_below) == ["other"]
    assert one.total_below == one.total_below
    below: Any = vars(Shop)["total_below"].fget
    below.invalidate(one)
    assert below.key(one) != below.key(other)


def test_tags_may_name_self() -> None:
    """What identity= makes of it."""
    one, other = Shop("one"), Shop("other")
    first, second = one.tagged(1), other.tagged(1)
    cache.invalidate_tags_sync("shop:one:1")
    assert one.tagged(1) != first
    assert other.tagged(1) == second


def test_a_bound_method_looks_like_one() -> None:
    """Frameworks ask for its signature, its name and whether it is a coroutine function."""
    shop = Shop()
    assert str(inspect.signature(shop.method)) == "(a: int, *, b: int = 2) -> list[typing.Any]"
    assert str(inspect.signature(Shop.of_class)) == "(a: int) -> list[typing.Any]"
    assert inspect.iscoroutinefunction(shop.amethod)
    assert asyncio.iscoroutinefunction(Shop.of_each_class)
    assert not inspect.iscoroutinefunction(shop.method)
    assert (shop.method.__name__, shop.method.__qualname__) == ("method", "Shop.method")
    assert inspect.getdoc(shop.method) == inspect.getdoc(Shop.method) == "Documented."
    assert inspect.isfunction(Shop.method)
    assert shop.method == shop.method
    assert {shop.method: 1}[shop.method] == 1
    assert shop.method != Shop().method
    assert shop.method.__wrapped__ == MethodType(Shop.method.__wrapped__, shop)
    assert shop.method.__self__ is shop


def test_methods_have_hits_in_this_process() -> None:
    """As functions have."""
    shop, before = Shop("hits"), cache.stats().local_hits
    for _ in range(3):
        shop.method(99)
        shop.own(99)
        Shop.of_class(99)
        Shop.static_below(99)
        shop.total_below  # noqa: B018
    assert cache.stats().local_hits >= before + 10


def test_a_first_parameter_of_another_name_is_data() -> None:
    """Nothing tells it from the first parameter of a staticmethod, so it is an error, with the cure."""
    with pytest.raises(UncacheableArgument, match="ignore="):
        Shop().unusual(1)


def test_what_cannot_be_decorated() -> None:
    """An error where it stands, that says what can be."""

    def plain(a: int) -> int:
        return a

    def no_self() -> int:
        return 1

    wrong: list[Any] = [
        functools.cached_property(plain),
        functools.partialmethod(plain, 1),
        functools.partial(plain, 1),
        Shop,
        len,
        property(),
        property(functools.partial(plain, 1)),  # type: ignore[arg-type]
    ]
    for thing in wrong:
        with pytest.raises(ConfigurationError, match="a method, a classmethod"):
            cache.query(ttl=60)(thing)
    for thing in (classmethod(no_self), property(no_self)):  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="takes no argument"):
            cache.query(ttl=60)(thing)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="identity="):
        cache.query(ttl=60, identity=lambda self: 1)(plain)


def test_where_python_hides_the_class() -> None:
    """Python 3.13 calls what stands below @classmethod without asking it: verbs say where to stand."""
    below = vars(Shop)["of_class_below"].__func__
    as_python_313 = MethodType(below, Shop)
    assert given(as_python_313(5)) == ["Shop", 5]
    verbs: list[Callable[..., Any]] = [as_python_313.refresh, as_python_313.key]
    for verb in verbs:
        with pytest.raises(ConfigurationError, match="above @classmethod"):
            verb(5)
