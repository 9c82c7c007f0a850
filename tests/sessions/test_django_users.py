"""The sessions of a user of Django: those that `login()` makes are listed, and can be revoked."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("django")

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY, get_user_model, login, update_session_auth_hash
from django.contrib.sessions.backends.base import UpdateError
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client, override_settings
from django.urls import path

from scalekit.errors import BackendUnavailable
from scalekit.sessions import AsyncUserSessions, MemoryStore, UserSessions
from scalekit.sessions.django import SessionStore, get_store
from scalekit.sessions.django._owner import owner_of
from scalekit.sessions.owner import encode_user
from tests.docs.blocks import ROOT, python_blocks
from tests.sessions.django_project import KEYS, USERS, make_tables
from tests.sessions.test_django_auth import Async, Sync

PAGE = ROOT / "docs" / "howto" / "sessions-users.md"

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def fail(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get(username="ada"))
    return HttpResponse(status=500)


def devices(request: HttpRequest) -> JsonResponse:
    infos = UserSessions(get_store()).list(request.user.pk, current=request.session)
    return JsonResponse({info.device: info.current for info in infos})


async def adevices(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    infos = await AsyncUserSessions(get_store()).list(user.pk, current=request.session)
    return JsonResponse({info.device: info.current for info in infos})


def alone(request: HttpRequest) -> JsonResponse:
    return JsonResponse(
        UserSessions(get_store()).revoke_all(request.user.pk, but=request.session), safe=False
    )


async def aalone(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    ended = await AsyncUserSessions(get_store()).revoke_all(user.pk, but=request.session)
    return JsonResponse(ended, safe=False)


def enter_alone(request: HttpRequest) -> JsonResponse:
    login(request, get_user_model().objects.get(username="ada"))
    return alone(request)


def renew_alone(request: HttpRequest) -> JsonResponse:
    update_session_auth_hash(request, request.user)
    return alone(request)


COLOURS = {"sync": (Sync, devices, alone), "async": (Async, adevices, aalone)}


@pytest.fixture(scope="module")
def ada() -> Iterator[Any]:
    make_tables()
    yield get_user_model().objects.create_user("ada", password="old")
    get_user_model().objects.filter(username="ada").delete()
    asyncio.run(sync_to_async(connections.close_all)())


@pytest.fixture(params=COLOURS)
def site(request: pytest.FixtureRequest, ada: Any, store: Any) -> Iterator[Any]:
    """Views of each colour over each store."""
    views, listing, ending = COLOURS[request.param]
    urls = {
        "login": views.login,
        "logout": views.logout,
        "password": views.password,
        "add/<sku>": views.add,
        "": views.show,
        "fail": fail,
        "devices": listing,
        "alone": ending,
        "enter-alone": enter_alone,
        "renew-alone": renew_alone,
    }
    with override_settings(
        SCALEKIT_SESSION_STORE=store,
        ROOT_URLCONF=tuple(path(*view) for view in urls.items()),
        MIDDLEWARE=MIDDLEWARE,
    ):
        yield store


def visitor(device: str | None = None) -> Client:
    client = Client(raise_request_exception=False, headers={"user-agent": device} if device else None)
    client.get("/add/tea")
    return client


def logged_in(device: str | None = None) -> Client:
    client = visitor(device)
    client.get("/login")
    return client


def who(client: Client) -> str:
    return str(client.get("/").json()["user"])


def test_who_logs_in_is_listed(site: Any, ada: Any) -> None:
    """29. By `login()` and `alogin()`: with the device, marked where it asks; nobody else's."""
    phone, laptop, _ = logged_in("phone"), logged_in("laptop"), visitor("stranger")
    assert phone.get("/devices").json() == {"phone": True, "laptop": False}
    assert laptop.get("/devices").json() == {"phone": False, "laptop": True}
    assert UserSessions(site).list(ada.pk + 1) == []


def test_who_is_revoked_is_logged_out(site: Any, ada: Any) -> None:
    """29. One, and all but the one that asks; what a request of theirs changes meanwhile is a 400."""
    phone, laptop, tv = logged_in("phone"), logged_in("laptop"), logged_in("tv")
    users = UserSessions(site)
    (id,) = [info.id for info in users.list(ada.pk) if info.device == "phone"]
    assert users.revoke(ada.pk, id)
    assert [who(client) for client in (phone, laptop, tv)] == ["", "ada", "ada"]
    assert laptop.get("/alone").json() == 1
    assert [who(client) for client in (laptop, tv)] == ["ada", ""]
    assert users.revoke_all(ada.pk) == 1
    assert (who(laptop), users.list(ada.pk)) == ("", [])


def test_who_logs_out_is_listed_no_more(site: Any, ada: Any) -> None:
    """29. `logout()` strikes the session off the list itself; whoever logs in next has another entry."""
    client = logged_in("phone")
    (before,) = UserSessions(site).list(ada.pk)
    client.get("/logout")
    assert site.using("sync").listed(encode_user(ada.pk)) == []
    client.get("/login")
    (after,) = UserSessions(site).list(ada.pk)
    assert before.id != after.id
    client.get("/logout")


def test_a_changed_password_keeps_the_entry(site: Any, ada: Any) -> None:
    """29. `update_session_auth_hash()` changes the key: one entry under another id, called the same, and no
    day longer."""
    client = logged_in("phone")
    (before,) = UserSessions(site).list(ada.pk)
    assert client.get("/password").status_code == 200
    (after,) = UserSessions(site).list(ada.pk)
    assert before.id != after.id
    assert (before.device, before.created, before.expires) == (after.device, after.created, after.expires)
    client.get("/logout")


def test_the_views_of_the_page(store: Any, ada: Any) -> None:
    """29. What docs/howto/sessions-users.md shows for Django."""
    (code,) = [block.code for block in python_blocks(PAGE) if "django" in block.code]
    page: dict[str, Any] = {"__name__": "shop"}
    with override_settings(SCALEKIT_SESSION_STORE=store):
        exec(compile(code, str(PAGE), "exec"), page)
        urls = {
            "login": Sync.login,
            "add/<sku>": Sync.add,
            "devices": page["devices"],
            "end": page["end_others"],
        }
        with override_settings(
            ROOT_URLCONF=tuple(path(*view) for view in urls.items()), MIDDLEWARE=MIDDLEWARE
        ):
            phone, laptop = logged_in("phone"), logged_in("laptop")
            assert {tuple(info[1:]) for info in laptop.get("/devices").json()} == {
                ("phone", False),
                ("laptop", True),
            }
            assert laptop.get("/end").json() == 1
            assert [phone.get("/devices").status_code, laptop.get("/devices").status_code] == [302, 200]


@pytest.mark.parametrize("view", ["/enter-alone", "/renew-alone"])
def test_revoking_all_but_a_session_that_is_moved(site: Any, ada: Any, view: str) -> None:
    """29. "Log me out everywhere else" in the request that logs in, or changes the key."""
    other, client = logged_in("other"), visitor("this") if view == "/enter-alone" else logged_in("this")
    assert client.get(view).json() == 1
    assert [who(each) for each in (other, client)] == ["", "ada"]
    assert client.get("/devices").json() == {"this": True}
    client.get("/logout")


def test_a_log_in_that_fails_changes_nothing(site: Any, ada: Any) -> None:
    """15. After a 5xx nobody is logged in, and the old key is as good as before."""
    client = visitor()
    assert client.get("/fail").status_code == 500
    assert client.get("/").json() == {"user": "", "cart": ["tea"]}
    assert UserSessions(site).list(ada.pk) == []


@pytest.mark.parametrize("name", KEYS)
def test_every_kind_of_primary_key(name: str) -> None:
    """29. The owner is `user.pk` with its type, whatever Django makes of it in the session."""
    _, pk, owner = KEYS[name]
    with override_settings(AUTH_USER_MODEL=f"sessions.{name}user", SCALEKIT_SESSION_STORE=MemoryStore()):
        user, request = USERS[name](pk=pk), HttpRequest()
        assert get_user_model() is type(user)
        request.session = SessionStore()
        request.session[SESSION_KEY] = user._meta.pk.value_to_string(user)
        request.session.save()
        assert len(UserSessions(get_store()).list(owner)) == 1


def test_a_key_of_another_user_model() -> None:
    """29. What is no key of the user model (any more) is the name of a user all the same."""
    with override_settings(AUTH_USER_MODEL="sessions.uuiduser"):
        assert owner_of("seven") == encode_user("seven")
    with override_settings(AUTH_USER_MODEL="shop.Gone"):
        assert owner_of("7") == encode_user("7")
    assert owner_of(None) is None


class Recorded(MemoryStore):
    """A store that tells what it was asked, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.failing = ""

    def __getattribute__(self, name: str) -> Any:
        if name in ("load", "save", "create", "destroy", "listed"):
            self.asked.append(name)
            if name == self.failing:
                raise BackendUnavailable("away", backend="tests")
        return super().__getattribute__(name)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    store = Recorded()
    with override_settings(SCALEKIT_SESSION_STORE=store):
        yield store


def stranger() -> str:
    session = SessionStore()
    session["cart"] = ["tea"]
    session.save()
    return str(session.session_key)


def entering(key: str, user: str = "7") -> SessionStore:
    session = SessionStore(key)
    session.cycle_key()
    session[SESSION_KEY] = user
    return session


def test_what_a_log_in_costs(recorded: Recorded) -> None:
    """6. A log-in is three round trips: to load, to create under the new key, to end the old one."""
    key = stranger()
    recorded.asked.clear()
    session = entering(key)
    shown = session.session_key  # to those who are told of the log-in
    session.save()
    assert (recorded.asked, session.session_key) == (["load", "create", "destroy"], shown)
    session.save()
    assert recorded.asked[3:] == ["save"]


@pytest.mark.parametrize("named", [None, "Ada's phone"])
def test_what_a_session_is_called(recorded: Recorded, ada: Any, named: str | None) -> None:
    """29. By the browser of the log-in, unless the application has named it."""
    request = HttpRequest()
    request.META["HTTP_USER_AGENT"] = "browser"
    request.session = SessionStore(stranger())
    request.session.device = named
    login(request, ada)
    request.session.save()
    (info,) = UserSessions(get_store()).list(ada.pk, current=request.session)
    assert (info.device, info.current) == (named or "browser", True)
    request.session.cycle_key()
    (info,) = UserSessions(get_store()).list(ada.pk, current=request.session)
    assert info.current


@pytest.mark.parametrize("begun", [False, True])
def test_cycling_twice_is_cycling_once(recorded: Recorded, begun: bool) -> None:
    """15. Of a key that was never saved there is nothing to end."""
    key = stranger() if begun else None
    session = SessionStore(key)
    session.cycle_key()
    session.cycle_key()
    session["a"] = 1
    session.save()
    assert (SessionStore(session.session_key)["a"], recorded.count()) == (1, 1)


def test_the_user_changes_only_with_the_key(recorded: Recorded) -> None:
    """15. Whoever names the user without `cycle_key()`, takes another one or none, has another key."""
    keys = [stranger()]
    for change in (
        lambda session: session.update({SESSION_KEY: "7"}),
        lambda session: session.update({SESSION_KEY: "8"}),
        lambda session: session.pop(SESSION_KEY),
    ):
        session = SessionStore(keys[-1])
        change(session)
        session.save()
        keys.append(session.session_key)
        assert [SessionStore(key).get("cart") for key in keys] == [*[None] * (len(keys) - 1), ["tea"]]
        user = session.get(SESSION_KEY)
        listed = {id: recorded.listed(encode_user(id)) for id in (7, 8)}
        assert {str(id): len(ids) for id, ids in listed.items() if ids} == ({user: 1} if user else {})
    session = SessionStore(keys[-1])
    session["a"] = 1
    session.save()
    assert session.session_key == keys[-1]


@pytest.mark.parametrize("end", ["flush", "delete"])
def test_what_is_ended_before_it_is_saved(recorded: Recorded, end: str) -> None:
    """10. A session that is ended in the request that logs in is not there, under none of its keys."""
    key = stranger()
    session = entering(key)
    new = session.session_key
    getattr(session, end)()
    if end == "delete":
        with pytest.raises(UpdateError):
            session.save()
    assert [SessionStore().exists(each) for each in (key, new)] == [False, False]
    assert (recorded.listed(encode_user(7)), recorded.count()) == ([], 0)


def test_an_outage_in_the_middle_of_a_log_in(recorded: Recorded) -> None:
    """27. The old session outlives its log-in only until the next save: that ends it."""
    key = stranger()
    session = entering(key)
    recorded.failing = "destroy"
    with pytest.raises(BackendUnavailable):
        session.save()
    recorded.failing = ""
    assert SessionStore().exists(key)
    session.save()
    assert not SessionStore().exists(key)
    assert SessionStore(session.session_key)[SESSION_KEY] == "7"


def test_an_answer_that_is_lost(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """27. What ended the old session, as the next save finds, was this request itself: it goes on."""
    session = entering(stranger())
    session.save()
    session.cycle_key()

    def lose(*args: Any, **options: Any) -> None:
        MemoryStore.destroy(recorded, *args, **options)
        raise BackendUnavailable("away", backend="tests")

    with monkeypatch.context() as patch:
        patch.setattr(recorded, "destroy", lose)
        with pytest.raises(BackendUnavailable):
            session.save()
    session.save()
    assert SessionStore(session.session_key)[SESSION_KEY] == "7"


def test_a_session_that_ends_before_it_is_moved(recorded: Recorded) -> None:
    """10. Nothing of a session that another request has ended lives on under another key; what begins after
    that does."""
    key = stranger()
    session, late = SessionStore(key), SessionStore(key)
    session.cycle_key()
    SessionStore(key).flush()
    with pytest.raises(UpdateError):
        session.save()
    assert recorded.count() == 0
    late.cycle_key()
    late["user"] = "ada"
    late.save()
    assert dict(SessionStore(late.session_key).items()) == {"user": "ada"}


def test_two_changes_of_key_at_once(recorded: Recorded) -> None:
    """13. Who is nobody to Django goes on in both: a double click on the log-in of an application's own."""
    key = stranger()
    sessions = [SessionStore(key), SessionStore(key)]
    for session in sessions:
        session.cycle_key()
        session["user"] = "ada"
    for session in sessions:
        session.save()
    assert [SessionStore(session.session_key)["user"] for session in sessions] == ["ada", "ada"]


def test_a_new_key_gives_no_more_time() -> None:
    """20. Only who logs in begins another lifetime: not `cycle_key()`, not a new password."""
    now = 1_000_000.0
    with override_settings(
        SCALEKIT_SESSION_STORE=MemoryStore(clock=lambda: now), SCALEKIT_SESSION_LIFETIME=100
    ):
        session = entering(stranger())
        now += 60
        session.save()
        now += 60
        session.cycle_key()
        session.save()
        late = SessionStore(session.session_key)
        late.cycle_key()
        now += 60
        with pytest.raises(UpdateError):
            late.save()
        assert not SessionStore().exists(session.session_key)


def test_whose_session_is_ended_while_they_log_in(recorded: Recorded) -> None:
    """15. Who has just logged in goes on: it has proved who it is."""
    key = stranger()
    session = entering(key)
    SessionStore(key).flush()
    session.save()
    assert SessionStore(session.session_key)[SESSION_KEY] == "7"


def test_what_one_user_does_late_is_nothing_to_the_next(recorded: Recorded) -> None:
    """15. What is saved meanwhile is carried over at a log-in, and not from one user to another."""
    for user, carried in (None, 1), ("8", None):
        first = SessionStore(stranger())
        if user is not None:
            first[SESSION_KEY] = user
            first.save()
        session, late = entering(first.session_key), SessionStore(first.session_key)
        late["late"] = 1
        late.save()
        session.save()
        assert session.get("late") == SessionStore(session.session_key).get("late") == carried


def steps_of(session: SessionStore) -> Any:
    return session._save("sync", session._get_session(), 1000, must_create=False)


def interleaved(one: Any, two: Any, order: tuple[int, ...]) -> None:
    """Run two sequences of operations, one operation at a time; ``order`` says which goes on."""
    answers: dict[int, Any] = {0: None, 1: None}
    running = {0: one, 1: two}
    for turn in itertools.chain(order, itertools.repeat(0)):
        if not running:
            return
        turn = turn if turn in running else next(iter(running))
        try:
            answers[turn] = running[turn].send(answers[turn])
        except (StopIteration, UpdateError):
            del running[turn]


@pytest.mark.parametrize("kind", ["login", "rotation", "another user"])
def test_a_log_in_while_all_are_revoked(store: Any, kind: str) -> None:
    """12. In every order of their operations: whose session has become theirs, or gone on as another, is
    revoked, or still listed."""
    with override_settings(SCALEKIT_SESSION_STORE=store):
        ended = set()
        for order in itertools.product((0, 1), repeat=7):
            users, session = UserSessions(store), SessionStore(stranger())
            if kind != "login":
                session[SESSION_KEY] = "7" if kind == "rotation" else "8"
                session.save()
                session = SessionStore(session.session_key)
            session.get("cart")
            if kind != "another user":
                session.cycle_key()
            session[SESSION_KEY] = "7"
            interleaved(steps_of(session), users._revoke_all(7, None), order)
            lives = SessionStore().exists(session.session_key)
            assert len(users.list(7)) == lives
            ended.add(lives)
            users.revoke_all(7)
            assert not SessionStore().exists(session.session_key)
        assert ended == ({False} if kind == "rotation" else {False, True})
