"""Requests of one browser, interleaved at random, against a model of what a session is (hypothesis)."""

import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from scalekit._steps import run
from scalekit.sessions import MemoryStore
from scalekit.sessions._core import Core
from scalekit.sessions.wsgi import SyncSession
from tests.sessions.shells import SECRET

KEYS = st.sampled_from("ab")
VALUES = st.integers(0, 1) | st.lists(st.integers(0, 1), max_size=1)
SOON = st.sampled_from([True, True, False])


class Kept:
    """What the model thinks that the server keeps under one cookie; ``None`` once it has ended."""

    def __init__(self, data: dict[str, Any], user: str | None) -> None:
        self.data: dict[str, Any] | None = data
        self.user = user
        self.successor: Kept | None = None
        self.alias = False
        self.made = 0  # seconds
        self.heard: int | None = None
        self.opener: Kept | None = None  # whoever has the cookie of that can be given the one of this again

    def followed(self, now: int | None) -> "Kept":
        """Itself, or what it has been rotated to; to who comes ``now``, while its cookie stands for that."""
        kept, there = self, self.successor
        while kept.data is None and kept.alias and there is not None:
            if now is not None and there.heard is not None and now - there.heard >= 10:
                break
            kept, there = there, there.successor
        return kept


class Request:
    """One request: the real session, and what the model thinks of it."""

    def __init__(self, session: SyncSession, kept: Kept | None, now: int) -> None:
        self.session = session
        self.follows = False
        self.minted = False
        self.kept = self.came = kept
        self.follow(now)
        if kept is not None and kept.data is not None and kept.heard is None:
            kept.heard = now
        kept = self.kept
        lost = kept is not None and self.follows and kept.heard is None and now - kept.made >= 10
        self.lost = kept if lost and kept is not None and kept.opener is self.came else None
        live = kept is not None and kept.data is not None
        self.ended = kept is not None and kept.data is None
        self.base: dict[str, Any] = copy.deepcopy(kept.data) if live else {}  # type: ignore[union-attr, assignment]
        self.view = copy.deepcopy(self.base)
        self.user = kept.user if live else None  # type: ignore[union-attr]
        self.assigned: set[str] = set()
        self.removed: set[str] = set()
        self.turn: str | None = None
        self.inherits = True

    def follow(self, now: int | None = None) -> None:
        if self.kept is not None:
            kept = self.kept.followed(now)
            self.follows |= kept is not self.kept
            self.kept = kept

    def forget(self) -> None:
        self.base, self.view, self.assigned, self.removed, self.inherits = {}, {}, set(), set(), False

    @property
    def changed(self) -> set[str]:
        return {key for key in self.view if key in self.assigned or self.view[key] != self.base.get(key)}

    def apply(self, data: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in data.items() if key not in self.removed}
        return kept | {key: copy.deepcopy(self.view[key]) for key in self.changed}

    def settle(self, kept: Kept, base: dict[str, Any]) -> None:
        self.kept, self.base = kept, copy.deepcopy(base)
        self.assigned, self.removed, self.turn, self.inherits = set(), set(), None, True

    def end(self, *, ended: bool) -> None:
        self.forget()
        self.ended, self.user, self.turn, self.inherits = ended, None, None, True

    def commit(self, now: int) -> None:
        """What the rules of `scalekit.sessions` say about a save."""
        if self.turn is None and not self.changed and not self.removed:
            return
        if self.turn != "logout" and not self.ended:
            self.follow()
        live = self.kept is not None and self.kept.data is not None
        if self.turn == "logout":
            while self.kept is not None:  # under every id that it has gone on with
                self.kept.data, self.kept = None, self.kept.successor
            view, assigned = self.view, self.assigned
            self.end(ended=False)
            self.view, self.assigned = view, assigned
            if self.changed:
                self.begin()
        elif self.turn != "login" and (self.ended or (self.kept is not None and self.kept.data is None)):
            self.end(ended=True)
        elif (
            (self.turn is None or (self.turn == "rotate" and self.follows)) and self.kept is not None and live
        ):
            self.kept.data = self.apply(self.kept.data or {})
            self.settle(self.kept, self.apply(self.base))
        elif self.kept is not None and self.turn is not None:
            # Rotated or logged in: with what others saved meanwhile, unless it was somebody else's.
            old, self.kept.data = self.kept.data, None
            merged = old is not None and self.inherits
            data = self.apply(old if merged else self.base)  # type: ignore[arg-type]
            self.view = copy.deepcopy(data)
            kept = Kept(copy.deepcopy(data), self.user)
            kept.made = now
            if self.turn == "rotate" and self.kept is self.came:
                kept.opener = self.came
            if old is not None:
                self.kept.successor, self.kept.alias = kept, self.turn == "rotate"
            self.settle(kept, data)
            self.ended, self.follows, self.minted = False, False, True
        elif self.apply(self.base) or self.user is not None:
            self.begin()
        else:
            self.turn = None
            self.assigned, self.removed = set(), set()

    def begin(self) -> None:
        data = self.apply(self.base)
        self.settle(Kept(copy.deepcopy(data), self.user), data)
        self.ended, self.follows, self.minted = False, False, True


class Looking:
    """A store that is looked at: no session hears of it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def load(self, id: str, **options: Any) -> Any:
        return self._store.load(id, **{**options, "own": False})


class Sessions(RuleBasedStateMachine):
    """One browser, any number of requests at a time, every one of them compared with the model."""

    requests: Bundle[Request] = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0
        store = MemoryStore(clock=lambda: self.seconds)
        self.core = Core(store, secret_key=SECRET)
        self.looking = Core(Looking(store), secret_key=SECRET)  # type: ignore[arg-type]
        self.jar: str | None = None
        self.kept: dict[str, Kept] = {}
        self.open: list[Request] = []

    @initialize(target=requests, first=VALUES, second=VALUES)
    def meet(self, first: Any, second: Any) -> Any:
        """The browser has a session, and two requests of it are under way."""
        request = self.begin(None)
        assert dict(request.session) == {}
        self.set(request, "a", first)
        self.set(request, "b", second)
        self.save(request)
        return multiple(request, self.begin(self.jar), self.begin(self.jar))

    @rule(target=requests)
    def begin_now(self) -> Request:
        """A request leaves the browser with the cookie of this moment."""
        return self.begin(self.jar)

    @rule(target=requests, number=st.integers(0, 10))
    def begin_late(self, number: int) -> Request:
        """A request that had left the browser earlier arrives, with the cookie of then."""
        return self.begin(list(self.kept)[number % len(self.kept)])

    def begin(self, cookie: str | None) -> Request:
        token = self.core.tokens.verify(cookie) if cookie else None
        kept = self.kept[cookie] if cookie else None
        request = Request(SyncSession(self.core, token, https=False), kept, self.seconds)
        self.open.append(request)
        return request

    @rule(
        request=requests, how=st.sampled_from(["set", "delete", "append"]), key=KEYS, value=VALUES, save=SOON
    )
    def change(self, request: Request, how: str, key: str, value: Any, save: bool) -> None:
        if how == "set":
            self.set(request, key, value)
        elif how == "delete":
            assert request.session.pop(key, None) == request.view.pop(key, None)
            request.assigned.discard(key)
            if key in request.base:
                request.removed.add(key)
        else:
            for mapping in (request.session, request.view):
                if isinstance(mapping.get(key), list):
                    mapping[key].append(value)
        if save:
            self.save(request)

    @rule(request=requests, how=st.sampled_from(["ann", "bob", "logout", "rotate", "rotate"]), save=SOON)
    def turn(self, request: Request, how: str, save: bool) -> None:
        if how == "logout":
            request.session.logout()
            request.forget()
            request.user, request.turn = None, how
        elif how == "rotate":
            request.session.rotate()
            request.turn = request.turn or how
        else:
            request.session.login(how)
            if request.user not in (None, how):
                request.forget()
            request.user, request.turn = how, "login"
        if save:
            self.save(request)

    def set(self, request: Request, key: str, value: Any) -> None:
        request.session[key] = copy.deepcopy(value)
        request.view[key] = copy.deepcopy(value)
        request.assigned.add(key)
        request.removed.discard(key)

    def save(self, request: Request) -> None:
        """A save in the middle of a request."""
        request.session._cookie, request.minted = None, False
        run(self.core.commit(request.session))
        request.commit(self.seconds)
        cookie, lost, request.lost = request.session._cookie, request.lost, None
        value = "" if cookie is None else cookie.decode().split(";")[0].partition("=")[2]
        if request.minted and request.kept is not None:
            assert value
            self.kept[value] = request.kept
            self.jar = value
        elif value:
            assert self.kept[value] is lost
            self.jar = value
        elif lost is not None and lost is request.kept and lost.data is not None and lost.heard is None:
            raise AssertionError("the cookie was not sent again")
        elif cookie is not None:
            assert cookie.startswith(b"session=;")
            self.jar = None

    @precondition(lambda self: self.seconds < 40)
    @rule()
    def wait(self) -> None:
        """Ten seconds: after them an answer is taken for lost, and a cookie has arrived that was used. Marks
        of what ended last for sixty."""
        self.seconds += 10

    @precondition(lambda self: self.seconds < 40 and self.jar is not None)
    @rule(target=requests)
    def lose(self) -> Request:
        """The answer of a rotation is lost: later the browser comes with the cookie that it still has."""
        jar = self.jar
        self.turn(self.begin(jar), "rotate", save=True)
        self.jar = jar
        self.wait()
        return self.begin(jar)

    @rule(request=consumes(requests))
    def finish(self, request: Request) -> None:
        """The response: saved, and its cookie in the jar."""
        self.save(request)
        self.open.remove(request)

    @invariant()
    def requests_see_what_the_model_sees(self) -> None:
        """Also the values that they were given before."""
        for request in self.open:
            assert dict(request.session) == request.view
            assert request.session.user_id == request.user

    @invariant()
    def the_server_keeps_what_the_model_keeps(self) -> None:
        """A request with any cookie that was ever given finds exactly what the model has for it."""
        for cookie, kept in self.kept.items():
            session = SyncSession(self.looking, self.core.tokens.verify(cookie), https=False)
            kept = kept.followed(self.seconds)
            assert dict(session) == (kept.data or {})
            assert session.user_id == (kept.user if kept.data is not None else None)


Sessions.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
TestSessions = Sessions.TestCase
TestSessions.__doc__ = "Whatever the order of requests, changes, rotations and log-outs, the model holds."
