"""Typed access to a session: ``shop = Shop.of(request.session)``.

Rules:

* Each annotated attribute of a class is one key of the session, so that concurrent requests still merge.
* Reading stores nothing: a default is none of the session's data until it has been changed in place.
* A value that the annotation does not allow is neither handed out nor taken.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, MutableMapping
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from scalekit.errors import ConfigurationError, SessionError, SessionValueError
from scalekit.sessions.codec import IMMUTABLE
from scalekit.sessions.fits import Check, check_for, found, spelled

_NOTHING: Any = object()
_OF_THE_CLASS = (ClassVar, Final)  # annotations of what is no key of a session
_OUTERMOST = re.compile(r"\W*(?:(\w+)\s*\.\s*)?(\w+)")  # the name, after its module, in an annotation's text


class SessionData:
    """A session with names and types of its own, which type checkers know. Make a subclass::

        class Shop(SessionData):
            theme: str = "light"
            cart: list[str] = field(default_factory=list)   # dataclasses.field; or [], which is copied
            address: Address | None = None                  # a class of types=[...]
            nickname: str                                   # no default: AttributeError until it is set

    ``Shop.of(request.session)`` reads and writes the session: ``shop.theme = "dark"``,
    ``shop.cart.append("tea")``, ``del shop.address``. An attribute is the key of the same name;
    ``class Shop(SessionData, prefix="shop.")`` makes it ``"shop.theme"``. What a base has annotated stays the
    key that it is there. ``ClassVar`` and ``Final`` are of the class, and no keys.

    Raises:
        TypeError: when the class is made, for a name that cannot be a key, or a ``Final`` without a value.
        SessionValueError: a value, stored or set, that does not fit its annotation.
    """

    __slots__ = ("_session",)

    _prefix: ClassVar[str] = ""
    _checked: ClassVar[dict[str, tuple[Check, Any]] | None] = None
    _session: MutableMapping[str, Any]

    def __init_subclass__(cls, *, prefix: str | None = None) -> None:
        super().__init_subclass__()
        cls._checked = None
        if prefix is not None:
            cls._prefix = prefix
        annotations = inspect.get_annotations(cls)
        forms = {name: _form(cls, annotation) for name, annotation in annotations.items()}
        names = {name for name, form in forms.items() if form not in _OF_THE_CLASS}
        for name in forms.keys() - names:
            if forms[name] is Final and name not in cls.__dict__:
                raise TypeError(f"{cls.__qualname__}.{name} is Final and has no value, so it never gets one")
        # Another default for what a base has annotated.
        names |= {
            name
            for name, default in cls.__dict__.items()
            if _attribute(cls.__mro__[1:], name) is not None and not hasattr(type(default), "__get__")
        }
        for name in names:
            setattr(cls, name, _Attribute(cls, name, cls.__dict__.get(name, _NOTHING)))

    def __init__(self) -> None:
        raise TypeError(f"a {type(self).__qualname__} is had by {type(self).__qualname__}.of(session)")

    @classmethod
    def of(cls, session: MutableMapping[str, Any]) -> Self:
        """The data of ``session``: of ``request.session`` with :mod:`scalekit.sessions`, or Flask's proxy.

        Raises:
            SessionError: it is the session of something else.
            ConfigurationError: an annotation that no value can be checked against.
        """
        _checks(cls)
        behind: Callable[[], Any] | None = getattr(session, "_get_current_object", None)
        if behind is not None:
            session = behind()  # Flask's proxy stands for another session in the next request
        if not hasattr(session, "_offer"):
            kind = type(session)
            raise SessionError(
                f"{cls.__qualname__}.of() takes a session of scalekit, not {kind.__module__}."
                f"{kind.__qualname__}; is the middleware there?"
            )
        data = cls.__new__(cls)
        object.__setattr__(data, "_session", session)
        return data

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} of {self._session!r}>"  # no data: reprs end up in logs

    if not TYPE_CHECKING:  # to a type checker, it would allow every name

        def __setattr__(self, name: str, value: Any) -> None:
            there = _found(type(self).__mro__, name)
            cls = type(self).__qualname__
            if there is None:
                raise AttributeError(f"{cls} has no attribute {name!r}; annotate it there")
            if not isinstance(there, _Attribute | property):
                raise AttributeError(f"{cls}.{name} is no key of the session")
            super().__setattr__(name, value)


class _Attribute:
    """One key of the session."""

    def __init__(self, owner: type[SessionData], name: str, default: Any) -> None:
        if name.startswith("_") or name == "of":
            raise TypeError(f"{owner.__qualname__}.{name} cannot be a key of a session; give it another name")
        self._name = name
        self._what = f"{owner.__qualname__}.{name}"
        self._key = owner._prefix + name
        self._make: Callable[[], Any] | None = None
        if isinstance(default, dataclasses.Field):
            if default.default_factory is not dataclasses.MISSING:
                self._make, default = default.default_factory, _NOTHING
            else:
                default = _NOTHING if default.default is dataclasses.MISSING else default.default
        if default is not _NOTHING and not isinstance(default, (*IMMUTABLE, Enum)):
            # What can be changed in place must never be the same object for two visitors.
            self._make = functools.partial(copy.deepcopy, default)
        self.default = default

    def __get__(self, data: SessionData | None, owner: type[SessionData]) -> Any:
        if data is None:
            return self
        session = data._session
        if self._make is not None:
            value = session._offer(self._key, self._make)  # type: ignore[attr-defined]
        else:
            value = session.get(self._key, _NOTHING)
            if value is _NOTHING:
                return self._absent()
        if (reason := self._misfit(owner, value)) is not None:
            reason += "; set it anew, delete it (`del`), or let the annotation have it"
            raise SessionValueError(key=self._key, reason=reason, action="read")
        return value

    def __set__(self, data: SessionData, value: Any) -> None:
        if (reason := self._misfit(type(data), value)) is not None:
            raise SessionValueError(key=self._key, reason=reason)
        data._session[self._key] = value

    def __delete__(self, data: SessionData) -> None:
        with contextlib.suppress(KeyError):
            del data._session[self._key]

    def _misfit(self, owner: type[SessionData], value: Any) -> str | None:
        """Why the annotation does not allow ``value``; ``None`` if it does."""
        check, annotation = _checks(owner)[self._name]
        try:
            if check(value):
                return None
            return f"{self._what} is {spelled(annotation)}, and the value is of type {found(value)}"
        except RecursionError:
            return "it is nested too deep, or contains itself"

    def _absent(self) -> Any:
        if self.default is _NOTHING:
            raise AttributeError(f"the session has no {self._key!r}, and {self._what} has no default")
        return self.default


def _checks(cls: type[SessionData]) -> dict[str, tuple[Check, Any]]:
    """The check and the annotation of each attribute; made late, as an annotation may name what follows."""
    if cls._checked is None:
        cls._checked = _make_checks(cls)
    return cls._checked


def _make_checks(cls: type[SessionData]) -> dict[str, tuple[Check, Any]]:
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"an annotation of {cls.__qualname__} names what is not there: {error}"
        ) from None
    checks: dict[str, tuple[Check, Any]] = {}
    for name, annotation in hints.items():
        attribute = _attribute(cls.__mro__, name)
        if attribute is None:
            continue
        try:
            check = check_for(annotation)
        except (TypeError, NameError) as error:
            raise ConfigurationError(f"{cls.__qualname__}.{name}: {error}") from None
        if attribute.default is not _NOTHING and not check(attribute.default):
            raise ConfigurationError(
                f"{cls.__qualname__}.{name} is {spelled(annotation)}, and its default is not"
            )
        checks[name] = check, annotation
    return checks


def _attribute(classes: tuple[type, ...], name: str) -> _Attribute | None:
    there = _found(classes, name)
    return there if isinstance(there, _Attribute) else None


def _found(classes: tuple[type, ...], name: str) -> Any:
    return next((vars(cls)[name] for cls in classes if name in vars(cls)), None)


def _form(cls: type, annotation: Any) -> Any:
    """What an annotation is, without its arguments. One that is a string is not evaluated: it may name what
    follows.
    """
    if not isinstance(annotation, str):
        return typing.get_origin(annotation) or annotation
    match = _OUTERMOST.match(annotation)
    if match is None:
        return None
    holder, name = match.groups()
    names = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    return names.get(name) if holder is None else getattr(names.get(holder), name, None)
