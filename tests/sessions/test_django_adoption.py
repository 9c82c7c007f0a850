"""Django's engine for those who have its cookie, as docs/howto/sessions-migration.md shows it."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

pytest.importorskip("django")

from django.contrib.sessions.backends.db import SessionStore as Before
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client, override_settings
from django.urls import path

from scalekit.sessions import MemoryStore
from tests.docs.blocks import ROOT, python_blocks
from tests.sessions.django_project import make_tables

PAGE = ROOT / "docs" / "howto" / "sessions-migration.md"


def add(request: HttpRequest, sku: str) -> JsonResponse:
    request.session["cart"] = [*request.session.get("cart", []), sku]
    return JsonResponse(request.session["cart"], safe=False)


def leave(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project whose engine is the page's."""
    make_tables()
    (code,) = [block.code for block in python_blocks(PAGE) if "def __new__" in block.code]
    module = ModuleType("shop_sessions")
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "shop_sessions", module)
    with override_settings(
        SESSION_ENGINE="shop_sessions",
        SCALEKIT_SESSION_STORE=MemoryStore(),
        ROOT_URLCONF=(path("add/<sku>", add), path("leave", leave)),
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ):
        yield
    connections.close_all()


@pytest.mark.usefixtures("engine")
def test_who_has_a_session_of_django_keeps_it() -> None:
    """36. Until they log out they go on with Django's engine; then, as all others, with ours."""
    before = Before()
    before["cart"] = ["tea"]
    before.create()
    visitor, other = Client(), Client()
    visitor.cookies["sessionid"] = before.session_key
    assert visitor.get("/add/cup").json() == ["tea", "cup"]
    assert visitor.get("/add/pot").json() == ["tea", "cup", "pot"]
    assert visitor.cookies["sessionid"].value == before.session_key
    visitor.get("/leave")
    for client in (visitor, other):
        assert client.get("/add/cup").json() == ["cup"]
        assert client.get("/add/pot").json() == ["cup", "pot"]
        assert "." in client.cookies["sessionid"].value
