"""Running a function again for nobody's call: with a database session of its own, from the user's factory.

Rules:

* A caller's session may be closed, or in use, by the time its call has been answered. So what runs in the
  background is given another one, from ``session=``; the caller's is never touched.
* What else belongs to a caller, a request or a response, cannot be made. A function that takes one cannot be
  run in the background, and is told so when it is defined; where no annotation says it, at its first call.
* The session is the run's from its beginning until its result has been stored. Then it is committed and
  closed, as a request would; if anything failed, it is closed alone.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from scalekit.cache.functions import hints_of, is_callers_own, says_callers_own
from scalekit.cache.options import Life, Patience
from scalekit.errors import ConfigurationError, WrongColour
from scalekit.types import Colour

_SESSIONS = {
    "Session",
    "AsyncSession",
    "scoped_session",
    "async_scoped_session",
    "Connection",
    "AsyncConnection",
}
_ENGINES = {"Engine", "AsyncEngine"}  # of the application, and good for any number of callers

Factory = Callable[[], Any]
"""Gives a context manager of a session, as a ``sessionmaker`` does; or is a generator that yields one."""

_CURE = "session=, such as a sessionmaker, cluster.session or a generator that yields one"


class Afresh:
    """How to run one function with a session of its own.

    Args:
        function: it.
        name: for messages.
        colour: whether it is an ``async def``.
        factory: where its session comes from. For a function that takes none it is entered all the same: it
            may be ``app.app_context``.
        default: the same, for functions that take a session and have no ``factory``.
        needed_by: the options that make it run in the background.

    Raises:
        ConfigurationError: a parameter is annotated with what cannot be made.
        WrongColour: sessions of the other colour would be made.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        colour: Colour,
        factory: Factory | None,
        default: Factory | None,
        needed_by: Sequence[str],
    ) -> None:
        self.name = name
        self.colour: Colour = colour
        self._function = function
        self._needed_by = ", ".join(needed_by)
        self._factory, self._default = factory, default
        self._signature = inspect.signature(function)
        self._has_self = next(iter(self._signature.parameters), None) == "self"
        hints = hints_of(function)
        self._sessions = {each for each in self._signature.parameters if _says(hints.get(each), _SESSIONS)}
        for parameter in self._signature.parameters:
            hint = hints.get(parameter)
            if says_callers_own(hint) and not _says(hint, _SESSIONS | _ENGINES):
                raise self._cannot(parameter, getattr(hint, "__name__", str(hint)))
        self._enter = self._factory_for(self._sessions)
        self._seen: set[tuple[type, ...]] = set()

    def check(self, arguments: Mapping[str, Any], left_out: Iterable[object]) -> None:
        """Refuse a call with what cannot be made afresh, where no annotation has said so.

        Raises:
            ConfigurationError: names the parameter.
        """
        if self._has_self:
            for attribute, value in getattr(arguments.get("self"), "__dict__", {}).items():
                if _belongs_to_caller(value):
                    raise ConfigurationError(
                        f"{self.name} is a method, and self.{attribute} is a {type(value).__name__} that may "
                        f"be closed when it is run in the background ({self._needed_by}); give it to the "
                        "method as an argument"
                    )
        kinds = tuple(map(type, left_out))
        if kinds not in self._seen:
            for parameter, value in arguments.items():
                if _belongs_to_caller(value) and not _says(type(value), _SESSIONS):
                    raise self._cannot(parameter, type(value).__name__)
            self._factory_for(self._replaced(arguments))
            self._seen.add(kinds)

    def open(self, arguments: Mapping[str, Any]) -> "Opened":
        """A run with these arguments, but for the session."""
        replaced = self._replaced(arguments)
        enter = self._enter or self._factory_for(replaced)

        def call(session: Any) -> Any:
            given = {**arguments, **dict.fromkeys(replaced, session)}
            bound = inspect.BoundArguments(self._signature, given)
            return self._function(*bound.args, **bound.kwargs)

        return _AsyncOpened(call, enter) if self.colour == "async" else _SyncOpened(call, enter)

    def _replaced(self, arguments: Mapping[str, Any]) -> set[str]:
        return self._sessions | {each for each, value in arguments.items() if _belongs_to_caller(value)}

    def _factory_for(self, sessions: Set[str]) -> Factory | None:
        taken = ", ".join(sorted(sessions))
        if len(sessions) > 1:
            raise ConfigurationError(
                f"{self.name} takes several sessions ({taken}), and session= makes one; with "
                f"{self._needed_by} it takes one at most"
            )
        factory = self._factory or (self._default if sessions else None)
        if sessions and factory is None:
            raise ConfigurationError(
                f"{self.name} takes a session ({taken}), and with {self._needed_by} it is run in the "
                f"background, where the caller's may be closed; give Cache or cache.query {_CURE}"
            )
        return None if factory is None else _context(factory, self.colour, name=self.name)

    def _cannot(self, parameter: str, kind: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name}({parameter}=...): a {kind} cannot be made for a run in the background "
            f"({self._needed_by}); take from it what is needed, and pass that instead"
        )


class Opened(typing.Protocol):
    """One run."""

    own: list[Any]
    """The session, once there is one; one for each time that it was run."""

    def run(self) -> Any:
        """Run the function: its result, or an awaitable of it."""

    def close(self, error: BaseException | None = None) -> Any:
        """Commit, unless there was an ``error``, and close: nothing, or an awaitable of it."""


class _SyncOpened:
    def __init__(self, call: Callable[[Any], Any], enter: Factory | None) -> None:
        self._call, self._enter = call, enter
        self._stack = ExitStack()
        self.own: list[Any] = []

    def run(self) -> Any:
        # It may be run once more, elsewhere (see scalekit.cache.leading): in another session.
        session = None
        if self._enter is not None:
            session = self._stack.enter_context(self._enter())
            self.own.append(session)
        return self._call(session)

    def close(self, error: BaseException | None = None) -> Any:
        if error is not None:
            self._stack.__exit__(type(error), error, error.__traceback__)
            return
        with self._stack:
            for session in self.own:
                if hasattr(session, "commit"):
                    session.commit()


class _AsyncOpened:
    def __init__(self, call: Callable[[Any], Any], enter: Factory | None) -> None:
        self._call, self._enter = call, enter
        self._stack = AsyncExitStack()
        self.own: list[Any] = []

    async def run(self) -> Any:
        session = None
        if self._enter is not None:
            made = self._enter()
            if hasattr(made, "__aenter__"):
                session = await self._stack.enter_async_context(made)
            else:  # what has nothing to wait for, such as an application's context
                session = self._stack.enter_context(made)
            self.own.append(session)
        return await self._call(session)

    async def close(self, error: BaseException | None = None) -> Any:
        if error is not None:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            return
        async with self._stack:
            for session in self.own:
                if hasattr(session, "commit"):
                    done = session.commit()
                    if inspect.isawaitable(done):
                        await done


def afresh(
    function: Callable[..., Any],
    *,
    name: str,
    colour: Colour,
    life: Life,
    patience: Patience,
    factory: Factory | None = None,
    default: Factory | None = None,
) -> Afresh | None:
    """How to run ``function`` in the background; ``None`` if it never is.

    Raises:
        ConfigurationError: it is to be, and cannot; or these options contradict each other.
    """
    patience.check(life)
    options = {
        "early_refresh": life.early_refresh > 0,
        "stale_while_revalidate": life.stale_while_revalidate > 0,
        "soft_timeout": patience.soft_timeout is not None,
        # A thread can be left behind only if nothing in it is its caller's.
        "hard_timeout": colour == "sync" and patience.hard_timeout is not None,
    }
    needed_by = [option for option, given in options.items() if given]
    if not needed_by:
        return None
    return Afresh(function, name=name, colour=colour, factory=factory, default=default, needed_by=needed_by)


def _context(factory: Factory, colour: Colour, *, name: str) -> Factory:
    """``factory`` as one that gives context managers."""
    if not callable(factory):
        raise ConfigurationError(
            f"session= of {name} must be a function that makes a session, not a {type(factory).__name__}; "
            "give the sessionmaker itself, or cluster.session without parentheses"
        )
    kinds = {base.__name__ for base in type(factory).__mro__}
    asynchronous = inspect.isasyncgenfunction(factory) or "async_sessionmaker" in kinds
    if asynchronous and colour == "sync":
        raise WrongColour(found="async", wanted="sync", what=f"{name}, a plain def,", kind="session=")
    if "sessionmaker" in kinds and colour == "async":
        raise WrongColour(found="sync", wanted="async", what=f"{name}, an async def,", kind="session=")
    if inspect.iscoroutinefunction(factory):
        raise ConfigurationError(
            f"session= of {name} is a coroutine function; end it with `yield session` instead of a return, "
            "so that the session can be closed"
        )
    if inspect.isasyncgenfunction(factory):
        return asynccontextmanager(factory)
    return contextmanager(factory) if inspect.isgeneratorfunction(factory) else factory


def _belongs_to_caller(value: object) -> bool:
    return is_callers_own(type(value)) and not _says(type(value), _ENGINES)


def _says(annotation: Any, names: Set[str]) -> bool:
    """Whether an annotation names one of these classes of SQLAlchemy, or a class derived from one."""
    if isinstance(annotation, str):
        return not names.isdisjoint(re.findall(r"\w+", annotation))
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_says(part, names) for part in typing.get_args(annotation))
    if origin is typing.Annotated:
        return _says(typing.get_args(annotation)[0], names)
    cls = annotation if origin is None else origin
    return isinstance(cls, type) and any(
        base.__name__ in names and base.__module__.partition(".")[0] == "sqlalchemy" for base in cls.__mro__
    )
