"""The engine has what Django's own engines have, and does what they do (`cached_db`, `cache`)."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

pytest.importorskip("django")

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from scalekit.sessions import MemoryStore
from tests.sessions.django_project import make_tables

OURS = "scalekit.sessions.django"
PEERS = ["django.contrib.sessions.backends.cached_db", "django.contrib.sessions.backends.cache"]

EXPECTED = {
    "items": [("a", [1]), ("b", 2)],
    "get": (2, None, 3),
    "has": (True, False, True, False),
    "pop": (2, None, "KeyError"),
    "setdefault": ([1], "new"),
    "update": {"a": [1], "u": 1, "v": [2], "s": "new"},
    "deleted": {"a": [1], "u": 1, "s": "new"},
    "missing": "KeyError",
    "keys": (["a", "s", "u"], 3),
    "test cookie": (True, False),
    "saved": {"a": [1], "u": 1, "s": "new"},
    "expiry": (600, True, False, True, 1209600, False),
    "date": True,
    "cycled": (True, True, {"a": [1], "u": 1, "s": "new"}, {}),
    "exists": (True, False),
    "cleared": ({}, True),
    "flushed": (None, True, {}),
    "late save": "UpdateError",
    "must create": {},
    "encoded": {"a": 1},
    "unknown": (None, None),
    "created": (True, True, {}),
}


@pytest.fixture(scope="module", autouse=True)
def tables() -> None:
    make_tables()


@pytest.fixture(params=[OURS, *PEERS])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """The `SessionStore` of each engine."""
    with override_settings(SESSION_ENGINE=request.param, SCALEKIT_SESSION_STORE=MemoryStore()):
        yield import_module(request.param).SessionStore


def error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except (KeyError, UpdateError) as error:
        return type(error).__name__
    return "no error"


def public_methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isroutine) if not name.startswith("_")}


def test_what_django_has_is_known_here() -> None:
    """Every public method of `SessionBase` is called by one of the two tests below; a new one of a future
    Django fails this test.
    """
    called = {
        name
        for test in (synchronous, asynchronous)
        for name in test.__code__.co_names + sum((c.co_names for c in code_of(test)), ())
    }
    assert public_methods(SessionBase) - called == set()


def code_of(test: Callable[..., Any]) -> list[Any]:
    return [constant for constant in test.__code__.co_consts if inspect.iscode(constant)]


def test_every_engine_has_the_same_methods() -> None:
    """Nothing that `cached_db` can be asked for is missing, but for its model and its cache."""
    from scalekit.sessions.django import SessionStore

    cached_db = import_module(PEERS[0]).SessionStore
    extra = {"create_model_instance", "acreate_model_instance", "get_model_class", "model", "acache_key"}
    assert public_methods(cached_db) - public_methods(SessionStore) == extra


def synchronous(make: Callable[..., Any]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    session = make()
    session["a"] = [1]
    session["b"] = 2
    seen["items"] = sorted(session.items())
    seen["get"] = (session.get("b"), session.get("x"), session.get("x", 3))
    seen["has"] = ("a" in session, "x" in session, session.has_key("a"), session.has_key("x"))
    seen["pop"] = (session.pop("b"), session.pop("x", None), error_of(lambda: session.pop("x")))
    seen["setdefault"] = (session.setdefault("a", 5), session.setdefault("s", "new"))
    session.update({"u": 1, "v": [2]})
    seen["update"] = dict(session.items())
    del session["v"]
    seen["deleted"] = dict(session.items())
    seen["missing"] = error_of(lambda: session["v"])
    seen["keys"] = (sorted(session.keys()), len(session.values()))
    session.set_test_cookie()
    session.save()
    session = make(session.session_key)
    worked = session.test_cookie_worked()
    session.delete_test_cookie()
    session.save()
    session = make(session.session_key)
    seen["test cookie"] = (worked, session.test_cookie_worked())
    seen["saved"] = dict(make(session.session_key).items())
    session.set_expiry(600)
    first = (session.get_expiry_age(), session.get_expiry_date() > timezone.now())
    session.set_expiry(0)
    closing = (not session.get_expire_at_browser_close(), session.get_expire_at_browser_close())
    session.set_expiry(None)
    last = (session.get_expiry_age(), session.get_expire_at_browser_close())
    seen["expiry"] = (*first, *closing, *last)
    seen["date"] = session.get_expiry_age() == session.get_session_cookie_age()
    old = session.session_key
    session.cycle_key()
    modified = session.modified
    session.save()
    seen["cycled"] = (
        modified,
        session.session_key != old,
        dict(make(session.session_key).items()),
        dict(make(old).items()),
    )
    seen["exists"] = (session.exists(session.session_key), session.exists(old))
    stale = make(session.session_key)
    stale["late"] = 1
    other = make(session.session_key)
    other.clear()
    seen["cleared"] = (dict(other.items()), other.modified)
    key = session.session_key
    session.flush()
    seen["flushed"] = (session.session_key, session.is_empty(), dict(make(key).items()))
    seen["late save"] = error_of(stale.save)
    fresh = make()
    fresh.save(must_create=False)
    seen["must create"] = dict(fresh.load())
    seen["encoded"] = fresh.decode(fresh.encode({"a": 1}))
    fresh.delete(fresh.session_key)
    unknown = make("a" * 32)
    seen["unknown"] = (unknown.get("a"), unknown.session_key)
    born = make()
    born.create()
    seen["created"] = (born.session_key is not None, born.modified, dict(born.items()))
    make.clear_expired()  # type: ignore[attr-defined]
    return seen


async def asynchronous(make: Callable[..., Any]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    session = make()
    await session.aset("a", [1])
    await session.aset("b", 2)
    seen["items"] = sorted(await session.aitems())
    seen["get"] = (await session.aget("b"), await session.aget("x"), await session.aget("x", 3))
    has = (await session.ahas_key("a"), await session.ahas_key("x"))
    seen["has"] = (*has, *has)
    try:
        await session.apop("x")
        missing = "no error"
    except KeyError:
        missing = "KeyError"
    seen["pop"] = (await session.apop("b"), await session.apop("x", None), missing)
    seen["setdefault"] = (await session.asetdefault("a", 5), await session.asetdefault("s", "new"))
    await session.aupdate({"u": 1, "v": [2]})
    seen["update"] = dict(await session.aitems())
    await session.apop("v")
    seen["deleted"] = dict(await session.aitems())
    seen["missing"] = missing
    seen["keys"] = (sorted(await session.akeys()), len(await session.avalues()))
    await session.aset_test_cookie()
    await session.asave()
    session = make(session.session_key)
    worked = await session.atest_cookie_worked()
    await session.adelete_test_cookie()
    await session.asave()
    session = make(session.session_key)
    seen["test cookie"] = (worked, await session.atest_cookie_worked())
    seen["saved"] = dict(await make(session.session_key).aitems())
    await session.aset_expiry(600)
    first = (await session.aget_expiry_age(), await session.aget_expiry_date() > timezone.now())
    await session.aset_expiry(0)
    closing = await session.aget_expire_at_browser_close()
    await session.aset_expiry(None)
    last = (await session.aget_expiry_age(), await session.aget_expire_at_browser_close())
    seen["expiry"] = (*first, not closing, closing, *last)
    seen["date"] = await session.aget_expiry_age() == session.get_session_cookie_age()
    old = session.session_key
    await session.acycle_key()
    modified = session.modified
    await session.asave()
    again, gone = make(session.session_key), make(old)
    seen["cycled"] = (
        modified,
        session.session_key != old,
        dict(await again.aitems()),
        dict(await gone.aitems()),
    )
    seen["exists"] = (await session.aexists(session.session_key), await session.aexists(old))
    stale = make(session.session_key)
    await stale.aset("late", 1)
    other = make(session.session_key)
    await other.aload()
    other.clear()
    seen["cleared"] = (dict(await other.aitems()), other.modified)
    key = session.session_key
    await session.aflush()
    seen["flushed"] = (session.session_key, session.is_empty(), dict(await make(key).aitems()))
    try:
        await stale.asave()
        seen["late save"] = "no error"
    except UpdateError:
        seen["late save"] = "UpdateError"
    fresh = make()
    await fresh.asave(must_create=False)
    seen["must create"] = dict(await fresh.aload())
    seen["encoded"] = fresh.decode(fresh.encode({"a": 1}))
    await fresh.adelete(fresh.session_key)
    unknown = make("a" * 32)
    seen["unknown"] = (await unknown.aget("a"), unknown.session_key)
    born = make()
    await born.acreate()
    seen["created"] = (born.session_key is not None, born.modified, dict(await born.aitems()))
    await make.aclear_expired()  # type: ignore[attr-defined]
    await sync_to_async(connections.close_all)()
    return seen


def test_the_synchronous_methods_do_what_those_of_django_do(make: Callable[..., Any]) -> None:
    """Each public method of a session, on ours and on Django's engines: one list of outcomes."""
    assert synchronous(make) == EXPECTED


def test_the_asynchronous_methods_do_what_those_of_django_do(make: Callable[..., Any]) -> None:
    """The `a...` twins have the same outcomes."""
    assert asyncio.run(asynchronous(make)) == EXPECTED


def test_a_key_that_is_taken_away_without_a_flag_is_noticed() -> None:
    """`adelete_test_cookie()` of Django marks nothing as modified; here it is saved all the same."""
    from scalekit.sessions.django import SessionStore

    async def visit() -> bool:
        session = SessionStore()
        await session.aset_test_cookie()
        await session.asave()
        session = SessionStore(session.session_key)
        await session.aload()
        assert not session.modified
        await session.atest_cookie_worked()
        assert not session.modified
        await session.adelete_test_cookie()
        return session.modified

    with override_settings(SCALEKIT_SESSION_STORE=MemoryStore()):
        assert asyncio.run(visit()) is True
