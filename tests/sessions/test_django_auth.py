"""The users of Django on our sessions: log-in, log-out, a changed password, through Django's own stack."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("django")

from asgiref.sync import sync_to_async
from django.contrib.auth import (
    alogin,
    alogout,
    aupdate_session_auth_hash,
    get_user_model,
    login,
    logout,
    update_session_auth_hash,
)
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from scalekit.sessions import MemoryStore
from scalekit.sessions.tokens import Tokens
from tests.sessions.django_project import make_tables
from tests.sessions.shells import SECRET


def enter(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get(username="ada"))
    return HttpResponse()


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def add(request: HttpRequest, sku: str) -> JsonResponse:
    request.session.setdefault("cart", []).append(sku)
    return JsonResponse(request.session["cart"], safe=False)


def show(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": request.user.username, "cart": request.session.get("cart")})


def change_password(request: HttpRequest) -> HttpResponse:
    request.user.set_password("new")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse()


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def aenter(request: HttpRequest) -> HttpResponse:
    await alogin(request, await get_user_model().objects.aget(username="ada"))
    return HttpResponse()


async def aleave(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse()


async def aadd(request: HttpRequest, sku: str) -> JsonResponse:
    cart = await request.session.asetdefault("cart", [])
    cart.append(sku)
    return JsonResponse(cart, safe=False)


async def ashow(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    return JsonResponse({"user": user.username, "cart": await request.session.aget("cart")})


async def achange_password(request: HttpRequest) -> HttpResponse:
    user = request.user = await request.auser()  # Django 5.2 would load request.user synchronously
    user.set_password("new")
    await user.asave()
    await aupdate_session_auth_hash(request, user)
    return HttpResponse()


class Sync:
    login, logout, show, password, add = enter, leave, show, change_password, add


class Async:
    login, logout, show, password, add = aenter, aleave, ashow, achange_password, aadd


@pytest.fixture(params=[Sync, Async])
def user(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A user `ada`, with views of each colour."""
    make_tables()
    views = request.param
    settings = override_settings(
        SCALEKIT_SESSION_STORE=MemoryStore(),
        ROOT_URLCONF=(
            path("login", views.login),
            path("logout", views.logout),
            path("password", views.password),
            path("add/<sku>", views.add),
            path("plain", plain),
            path("", views.show),
        ),
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
    )
    with settings:
        user = get_user_model().objects.create_user("ada", password="old")
        yield user
        get_user_model().objects.filter(pk=user.pk).delete()
        asyncio.run(sync_to_async(connections.close_all)())


def test_logging_in_changes_the_key_and_keeps_the_cart(user: Any) -> None:
    """15. `login()` and `alogin()`: a new key, the old one worthless, what the stranger gathered is there."""
    client = Client()
    client.get("/add/tea")
    stranger = client.cookies["sessionid"].value
    client.get("/login")
    assert client.cookies["sessionid"].value != stranger
    assert client.get("/add/cup").json() == ["tea", "cup"]
    assert client.get("/").json() == {"user": "ada", "cart": ["tea", "cup"]}
    client.cookies["sessionid"] = stranger
    assert client.get("/").json() == {"user": "", "cart": None}


def test_logging_out_ends_the_key(user: Any) -> None:
    """15. `logout()` and `alogout()`: nobody is logged in, under the old key neither."""
    client = Client()
    client.get("/login")
    key = client.cookies["sessionid"].value
    client.get("/logout")
    assert client.cookies["sessionid"].value == ""
    client.cookies["sessionid"] = key
    assert client.get("/").json() == {"user": "", "cart": None}


def test_a_changed_password_ends_the_other_sessions(user: Any) -> None:
    """Who changes the password stays logged in, under a new key; every other session of the user is over."""
    here, there = Client(), Client()
    here.get("/login")
    there.get("/login")
    before = here.cookies["sessionid"].value
    here.get("/password")
    assert here.cookies["sessionid"].value != before
    assert here.get("/").json()["user"] == "ada"
    assert there.get("/").json()["user"] == ""


@pytest.mark.parametrize("end", ["disable", "delete"])
def test_the_sessions_of_an_account_that_is_gone(user: Any, end: str) -> None:
    """Whose account is disabled or deleted is nobody with the next request, in every session."""
    clients = [Client(), Client()]
    for client in clients:
        client.get("/login")
        assert client.get("/").json()["user"] == "ada"
    if end == "delete":
        get_user_model().objects.filter(username="ada").delete()
    else:
        get_user_model().objects.filter(username="ada").update(is_active=False)
    assert [client.get("/").json()["user"] for client in clients] == ["", ""]


def test_the_test_client_of_django(user: Any) -> None:
    """`force_login`, `client.session` and `logout` of Django's test client work on our engine."""
    client = Client()
    session = client.session
    session["cart"] = ["tea"]
    session.save()
    client.force_login(user)
    assert client.get("/").json() == {"user": "ada", "cart": ["tea"]}
    assert Tokens(SECRET).verify(client.session.session_key) is not None
    client.get("/add/cup")
    assert client.session["cart"] == ["tea", "cup"]
    client.logout()
    assert client.get("/").json() == {"user": "", "cart": None}


def test_the_asynchronous_client_of_django(user: Any) -> None:
    """`AsyncClient`, which runs the ASGI handler: the same session, in views of either colour."""

    async def visit() -> Any:
        client = AsyncClient()
        await client.aforce_login(user)
        for sku in ("tea", "cup"):
            await client.get(f"/add/{sku}")
        shown = (await client.get("/")).json()
        session = await client.asession()
        assert await session.aget("cart") == ["tea", "cup"]
        await client.alogout()
        return shown, (await client.get("/")).json()

    assert asyncio.run(visit()) == ({"user": "ada", "cart": ["tea", "cup"]}, {"user": "", "cart": None})


def test_saving_with_every_request(user: Any) -> None:
    """`SESSION_SAVE_EVERY_REQUEST`: each request extends the session and its cookie, also one that looks at
    nothing; without it only those that change something do.
    """
    now = 1_000_000.0
    with override_settings(SCALEKIT_SESSION_STORE=MemoryStore(clock=lambda: now), SESSION_COOKIE_AGE=1000):
        for every in (False, True):
            with override_settings(SESSION_SAVE_EVERY_REQUEST=every):
                client = Client()
                client.get("/add/tea")
                key = client.cookies["sessionid"].value
                for _ in range(3):
                    now += 400
                    reply = client.get("/plain")
                    assert ("sessionid" in reply.cookies) is every
                client.cookies["sessionid"] = key
                assert client.get("/").json()["cart"] == (["tea"] if every else None)
