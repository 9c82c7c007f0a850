"""Requests of one browser whose operations on the store are interleaved in every way (hypothesis).

`test_model.py` knows exactly what each save must do, one save at a time. Here saves, log-ins and log-outs
come in between each other: a request is a generator that stops after each operation of the store, and a
schedule says whose turn is next. What must hold of whatever comes of it is stated in the properties below.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalekit.sessions import MemoryStore, UserSessions
from scalekit.sessions._core import NEVER, Core
from scalekit.sessions.atomic import extend, increment, removal, update
from scalekit.sessions.codec import decode
from scalekit.sessions.memcached import MemcachedStore
from scalekit.sessions.owner import encode_user
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SyncSession
from tests.sessions.shells import SECRET

Steps = Generator[Any, Any, Any]
USERS = ("ann", "bob")
NOBODY = "nobody"


class Recording:
    """A bound store that remembers which ids it was asked to create, also those that nobody was given."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.ids: list[str] = []

    def create(self, id: str, **options: Any) -> Any:
        self.ids.append(id)
        return self._store.create(id, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class Visit:
    """One request: what it does, whether its response fails, and what came of it."""

    number: int
    actions: list[str]
    fails: bool = False
    done: bool = False
    stored: bool | None = None
    counts: list[int] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    took: list[Any] = field(default_factory=list)

    @property
    def acts(self) -> bool:
        """Whether what it does may count, although it may fail afterwards."""
        return not self.fails or "save" in self.actions

    def run(self, browser: "Browser") -> Steps:
        core = browser.core
        token = core.tokens.verify(browser.jar) if browser.jar is not None else None
        session = SyncSession(core, token, https=False)
        yield from core.load(session)
        for action in self.actions:
            yield from self.act(action, core, session)
        if self.fails:
            session._forget()
        else:
            self.stored = yield from core.commit(session)
        self.done = True
        if session._cookie is not None:
            value = session._cookie.decode().split(";")[0].partition("=")[2]
            browser.jar = value or None
            if value:
                browser.given.append(value)

    def act(self, action: str, core: Core, session: SyncSession) -> Steps:
        tag = f"{session.user_id or NOBODY}/{self.number}"
        match action:
            case "own":
                session[f"own-{self.number}"] = tag
            case "shared":
                session["shared"] = tag
            case "nested" if isinstance(session.get("nested"), dict):
                session["nested"][tag] = 1
            case "drop":
                session.pop("shared", None)
            case "clear":
                session.clear()
            case "incr":
                self.counts.append((yield from update(core, session, "count", increment("count", 1))))
            case "append":
                yield from update(core, session, "log", extend("log", (tag,)))
                self.logged.append(tag)
            case "take":
                self.took.append((yield from update(core, session, "flash", removal(None))))
            case "save":
                yield from core.commit(session)
            case "logout" | "rotate":
                getattr(session, action)()
            case user if user in USERS:
                session.login(user)


class Browser:
    """One cookie jar, and a store that can be looked into."""

    def __init__(self, store: Any, user: str | None) -> None:
        self.store = Recording(store)
        self.core = Core(self.store, secret_key=SECRET)
        self.users = UserSessions(MemoryStore())
        self.users._store = self.store  # type: ignore[assignment]
        self.jar: str | None = None
        self.given: list[str] = []
        first = Visit(0, [*([user] if user else []), "append", "incr"])
        session = SyncSession(self.core, None, https=False)
        if user is not None:
            session.login(user)
        session.update(seed=f"{user or NOBODY}/0", shared=f"{user or NOBODY}/0", flash="Saved.", nested={})
        exhaust(self.core.commit(session))
        assert session._cookie is not None
        self.jar = session._cookie.decode().split(";")[0].partition("=")[2]
        self.given.append(self.jar)
        self.first = first

    def interleave(self, runs: list[Steps], schedule: list[int]) -> None:
        """One operation at a time, of whose turn it is; in the end, what is left of each in its turn."""
        answers: dict[int, Any] = {}
        left = dict(enumerate(runs))
        for turn in itertools.chain(schedule, itertools.repeat(0)):
            if not left:
                return
            number = list(left)[turn % len(left)]
            try:
                answers[number] = left[number].send(answers.get(number))
            except StopIteration:
                del left[number]

    def look(self, id: str) -> Any:
        return self.store.load(id, idle=1, step=NEVER)

    def living(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        """Every session that lives: its id, user and values, whoever has its cookie."""
        found = []
        for id in self.store.ids:
            loaded = self.look(id)
            if loaded is not None and not loaded.ended:
                values = {name.decode(): decode(name.decode(), data) for name, data in loaded.fields.items()}
                found.append((id, None if loaded.user is None else decode("user", loaded.user), values))
        return found

    def shown(self, cookie: str | None) -> dict[str, Any]:
        """What the next request with this cookie finds."""
        token = self.core.tokens.verify(cookie) if cookie is not None else None
        return dict(SyncSession(self.core, token, https=False))


def exhaust(steps: Steps) -> Any:
    answer = None
    while True:
        try:
            answer = steps.send(answer)
        except StopIteration as stop:
            return stop.value


STEADY = ("own", "shared", "nested", "incr", "append", "take", "save")
HARMLESS = (*STEADY, "rotate")
ALL = (*HARMLESS, "drop", "clear", "logout", *USERS)
FEW = (("rotate", "logout", "own"), ("rotate", "ann", "own"), (*USERS, "append"), ("ann", "logout", "save"))


def visits(actions: tuple[str, ...], fails: st.SearchStrategy[bool]) -> st.SearchStrategy[list[Visit]]:
    many = st.lists(st.sampled_from(actions), max_size=4)
    return st.lists(st.tuples(many, fails), min_size=2, max_size=3).map(
        lambda plans: [Visit(number, list(plan), fails) for number, (plan, fails) in enumerate(plans, 1)]
    )


SCHEDULES = st.lists(st.integers(0, 2), max_size=30)
NEVER_FAILS, SOMETIMES = st.just(False), st.sampled_from([False, False, True])


@pytest.fixture(params=["memory", "redis", "memcached"])
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """A new store for each example."""
    if request.param == "memory":
        return MemoryStore
    prefix, number = request.getfixturevalue("prefix"), itertools.count()
    if request.param == "memcached":
        url = request.getfixturevalue("memcached_server").url
        return lambda: MemcachedStore.from_url(url, prefix=f"{prefix}{next(number)}:", timeout=30).using(
            "sync"
        )
    url = request.getfixturevalue("redis_url")
    return lambda: RedisStore.from_url(url, prefix=f"{prefix}{next(number)}:", timeout=30).using("sync")


def examples(count: int) -> Any:
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, deadline=None, suppress_health_check=health)


@examples(100)
@given(plans=visits(HARMLESS, NEVER_FAILS), schedule=SCHEDULES, user=st.sampled_from([None, "ann"]))
def test_nothing_is_lost(
    make: Callable[[], Any], plans: list[Visit], schedule: list[int], user: str | None
) -> None:
    """7. 9. Changes, counters and lists, in whatever order: every key that a request has set is there, each
    count and entry once, and the flash message went to one of those who asked."""
    browser = Browser(make(), user)
    browser.interleave([plan.run(browser) for plan in plans], schedule)
    assert [plan.stored for plan in plans] == [True] * len(plans)
    ((_, owner, values),) = browser.living()
    assert owner == user
    for plan in plans:
        assert (f"own-{plan.number}" in values) == ("own" in plan.actions)
    counts = sorted(count for plan in plans for count in plan.counts)
    assert counts == list(range(1, len(counts) + 1))
    assert values.get("count", 0) == len(counts)
    assert Counter(values.get("log", [])) == Counter(tag for plan in plans for tag in plan.logged)
    taken = [value for plan in plans for value in plan.took]
    assert taken.count("Saved.") == bool(taken)
    assert ("flash" in values) == (not taken)


@examples(150)
@given(
    plans=visits((*STEADY, "rotate", "rotate", "rotate"), NEVER_FAILS),
    schedule=SCHEDULES,
    user=st.sampled_from([None, "ann"]),
)
def test_rotations_lose_nobody(
    make: Callable[[], Any], plans: list[Visit], schedule: list[int], user: str | None
) -> None:
    """7. 13. Rotations among changes, in whatever order: every request is stored, every key that one of
    them has set is there; there is one session, still the visitor's; every cookie that was given finds it."""
    browser = Browser(make(), user)
    browser.interleave([plan.run(browser) for plan in plans], schedule)
    assert [plan.stored for plan in plans] == [True] * len(plans)
    ((_, owner, values),) = browser.living()
    assert owner == user
    for plan in plans:
        assert (f"own-{plan.number}" in values) == ("own" in plan.actions)
    for cookie in browser.given:
        assert browser.shown(cookie) == values


def test_what_a_rotation_carries_over_replaces_nothing_newer(make: Callable[[], Any]) -> None:
    """7. Saved to the old id while it is being rotated, and again under the new one before the rotation
    carries over the first: what was committed last stays."""
    browser = Browser(make(), None)

    def twice() -> Steps:
        session = SyncSession(browser.core, browser.core.tokens.verify(browser.given[0]), https=False)
        yield from browser.core.load(session)
        for word in ("first", "second"):
            session["shared"] = session[word] = f"{NOBODY}/{word}"
            assert (yield from browser.core.commit(session))

    rotation = Visit(1, ["rotate"])
    # Both load; one saves; the other creates the new session and ends the old one; the first saves again.
    browser.interleave([twice(), rotation.run(browser)], [0, 1, 0, 1, 1, 0, 0, 0])
    ((_, _, values),) = browser.living()
    assert values["shared"] == values["second"]
    assert "first" in values
    assert browser.shown(browser.jar) == values


@examples(250)
@given(
    # A few kinds at a time: what takes three of a kind to go wrong is seldom found among all.
    plans=st.sampled_from([ALL, *FEW]).flatmap(lambda actions: visits(actions, SOMETIMES)),
    schedule=SCHEDULES,
    user=st.sampled_from([None, *USERS]),
    revoked=st.sampled_from([None, None, *USERS]),
)
def test_nobody_gets_what_is_not_theirs(
    make: Callable[[], Any], plans: list[Visit], schedule: list[int], user: str | None, revoked: str | None
) -> None:
    """10. 12. 15. Log-ins, log-outs, failed responses and `revoke_all` among them, in whatever order:

    * a session has nothing that was written as another user;
    * what was logged out or revoked lives on nowhere, unless somebody has logged in;
    * who is logged in is listed: what `revoke_all` has missed, the next one ends;
    * who has logged in stays so, if others only change things or fail, and somebody else is revoked;
    * a response that failed gives no cookie, and changes nothing but what is stored at once.
    """
    check(make(), plans, schedule, user, revoked)


# Each of these went wrong once: visits, whose turn it is, the user before, and who is revoked meanwhile.
FOUND: dict[str, tuple[list[Visit], list[int], str | None, str | None]] = {
    "revoked together with who came before": ([Visit(1, []), Visit(2, ["ann"])], [0, 0, 1], "bob", "bob"),
    "stored at once before a log-in that failed": ([Visit(1, ["ann", "append"], fails=True)], [], None, None),
    "logged in again, counting, when it was over": (
        [Visit(1, ["logout"]), Visit(2, ["bob", "append"])],
        [1],
        "bob",
        None,
    ),
    "somebody else, after it was over": ([Visit(1, ["ann"]), Visit(2, ["append", "ann"])], [1], "bob", None),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_went_wrong_once(make: Callable[[], Any], case: str) -> None:
    """10. 12. 15. The same properties, of what the test above has found."""
    check(make(), *copy.deepcopy(FOUND[case]))


def check(store: Any, plans: list[Visit], schedule: list[int], user: str | None, revoked: str | None) -> None:
    """The properties that `test_nobody_gets_what_is_not_theirs` states."""
    browser = Browser(store, user)
    runs = [plan.run(browser) for plan in plans]
    if revoked is not None:
        runs.append(browser.users._revoke_all(revoked, None))
    browser.interleave(runs, schedule)
    living = browser.living()
    for _, owner, values in living:
        mine = {owner or NOBODY, NOBODY}
        written = [
            values.get("seed"),
            values.get("shared"),
            *values.get("log", []),
            *values.get("nested", []),
        ]
        written += [value for key, value in values.items() if key.startswith("own-")]
        assert {tag.partition("/")[0] for tag in written if tag is not None} <= mine
    actions = [action for plan in plans if plan.acts for action in plan.actions]
    joined = any(name in actions for name in USERS)
    over = any("logout" in plan.actions for plan in plans if not plan.fails) or (revoked and revoked == user)
    if over and not joined:
        assert [values for _, _, values in living if "seed" in values] == []
    for name in USERS:
        listed = browser.store.listed(encode_user(name))
        assert {id for id, owner, _ in living if owner == name} <= set(listed)
    for name in USERS:
        others = [each for each in actions if each not in HARMLESS and each != name]
        if not others and any(name in plan.actions for plan in plans if not plan.fails) and revoked != name:
            assert [owner for _, owner, _ in living if owner == name]
    for plan in plans:
        assert plan.acts or all(f"own-{plan.number}" not in values for _, _, values in living)
    if not any(plan.acts for plan in plans) and revoked is None:
        assert browser.given == [browser.jar]
        ((_, owner, values),) = living
        assert (owner, values["seed"], values["shared"]) == (
            user,
            f"{user or NOBODY}/0",
            f"{user or NOBODY}/0",
        )
