"""Finding what an application is made of, by following what it refers to.

Rules:

* Breadth first from the application and its module: instances by their attributes, containers by their items,
  functions by what they close over and, of the application's own code, by the globals that they name.
* Nothing is called and no property is read: only what is stored is looked at. Types are told by ``type()``,
  never by ``isinstance``, which a proxy such as ``flask.session`` answers with an error outside a request.
* What cannot lead to an object of ours, such as a logger or a database engine, is not gone into.
* Modules of others are not searched: what nobody in the application uses is not in use.
"""

import functools
import site
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_MOST = 200_000
"""Objects; an application that refers to more is looked at as far as that."""
_MOST_ITEMS = 1_000

_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), type, ModuleType, CodeType)
_ENDS = frozenset(
    (
        *("_thread", "asyncio", "builtins", "concurrent", "inspect", "io", "logging", "re", "socket", "ssl"),
        *("threading", "typing", "weakref"),
        *("aiobotocore", "botocore", "pydantic", "pydantic_core", "redis", "sqlalchemy"),
    )
)
"""Packages whose instances lead nowhere."""
_ATTRIBUTES = ("app", "wsgi_app", "asgi_app", "application", "_app", "_wsgi_app")
_CELLS = (*_ATTRIBUTES, "get_response")


def kinds(thing: object) -> frozenset[str]:
    """The dotted names of a thing's class and of those above it."""
    return names_of(type(thing))


def names_of(kind: type) -> frozenset[str]:
    """The dotted names of a class and of those above it."""
    return frozenset(f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__)


def is_a(thing: object, *names: str) -> bool:
    """Whether a thing is an instance of one of these classes, none of which need be imported."""
    return not kinds(thing).isdisjoint(names)


def walk(roots: Iterable[tuple[str, object]]) -> Iterator[tuple[str, Any]]:
    """Every object that ``roots`` lead to, each once and with the way to it, the nearest first."""
    waiting = deque(roots)
    seen: dict[int, object] = {}  # with the object, so that no other gets its number
    while waiting and len(seen) < _MOST:
        way, thing = waiting.popleft()
        if issubclass(type(thing), _PLAIN) or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        yield way, thing
        waiting.extend(_next(way, thing))


def _next(way: str, thing: Any) -> Iterable[tuple[str, object]]:
    kind = type(thing)
    if issubclass(kind, Mapping) and issubclass(kind, dict):
        return [(way, value) for value in _some(dict.values(thing))]
    if issubclass(kind, list | tuple | set | frozenset | deque):
        return [(way, value) for value in _some(thing)]
    if kind is FunctionType:
        return _of_function(way, thing)
    if kind is MethodType:
        return [(way, thing.__self__), (way, thing.__func__)]
    if issubclass(kind, functools.partial):
        return [(way, thing.func), (way, thing.args), (way, thing.keywords)]
    if kind is CellType:
        return []
    if kind.__module__.partition(".")[0] in _ENDS or kind.__module__.startswith("scalekit.database."):
        # Of a cluster's middleware the cluster is wanted and what it is around, and of a cluster nothing.
        stored = _stored(thing) if kind.__name__.endswith("Middleware") else {}
        return [(way, stored[name]) for name in ("app", "_cluster") if name in stored]
    return [(f"{way}.{name}" if way else name, value) for name, value in _stored(thing).items()]


def _some(values: Iterable[object]) -> list[object]:
    return [value for _, value in zip(range(_MOST_ITEMS), values, strict=False)]


def _stored(thing: object) -> dict[str, object]:
    """A thing's attributes, by no way that would run its code."""
    try:
        found = dict(object.__getattribute__(thing, "__dict__"))
    except (AttributeError, TypeError):
        found = {}
    for one in type(thing).__mro__:
        for name in _slots(one):
            try:
                found[name] = object.__getattribute__(thing, name)
            except (AttributeError, TypeError):
                continue
    return found


def _slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else [*slots]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _of_function(way: str, function: FunctionType) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [(way, value) for value in closed_over(function).values()]
    found += [(way, function.__defaults__), (way, function.__kwdefaults__), (way, function.__dict__)]
    if is_own_code(function.__code__.co_filename):
        where = function.__module__ or way
        found += [(f"{where}.{name}", value) for name, value in globals_of(function).items()]
    return found


def closed_over(function: FunctionType) -> dict[str, object]:
    """What a function has from the functions around it."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    return found


def globals_of(function: FunctionType) -> dict[str, object]:
    """The globals that a function, or one inside it, names."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes.extend(one for one in code.co_consts if isinstance(one, CodeType))
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


@functools.cache
def _of_others() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = [paths["stdlib"], paths["purelib"], paths["platlib"], *site.getsitepackages()]
    return (*(Path(folder).resolve() for folder in folders), Path(__file__).resolve().parents[2])


@functools.cache
def is_own_code(file: str) -> bool:
    """Whether a file is the application's: no library's, and none of scalekit's."""
    path = Path(file).resolve()
    return path.is_file() and not any(path.is_relative_to(folder) for folder in _of_others())


def layers(app: Any) -> list[Any]:
    """An application's middlewares, the outermost first, and what is inside them last.

    Starlette's and FastAPI's are built for it, as for a first request; Django's are in its settings, and not
    among these.
    """
    found: list[Any] = []
    while app is not None and not any(app is one for one in found) and len(found) < 100:
        found.append(app)
        app = _inside(app)
    return found


def _inside(app: Any) -> Any:
    if is_a(app, "starlette.applications.Starlette"):
        return app.middleware_stack or app.build_middleware_stack()
    if issubclass(type(app), MethodType):  # Flask.wsgi_app, of the Flask that is outside already
        return None
    stored = closed_over(app) if type(app) is FunctionType else _stored(app)
    for name in _CELLS:
        inner = stored.get(name)
        if inner is not None and callable(inner) and not issubclass(type(inner), type):
            return inner
    return None
