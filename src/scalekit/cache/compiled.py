"""The fast path: for each cached function, code that is written for its signature, once.

What is generated, for ``async def top(session: AsyncSession, category: str, limit: int = 10)``::

    async def top(session, category, limit=_default2):
        if _core.dirty == 0 and not _running() and _ways[_type(session)](session):
            try:
                _entry = _find((_own, _type(category), category, _type(limit), limit))
            except _TypeError:
                _entry = None
            if _entry is not None:
                _now = _clock()
                if _now < _entry.ends and _now < _local.horizon:
                    ...
                    return _entry.value
        return await _get(_of_values(session, category, limit))

Rules:

* Python binds the arguments, and a hit in this process makes neither a dict of them nor a key of text.
* The first tier's key is a tuple of types and values. An entry gets such a key only if each value is of a
  type whose equality tells values apart (``EXACT``), so a look needs no check: a float, a list, a subclass
  find nothing. Every other call is found under its whole key.
* Nothing is looked for while a transaction here has changes, or while a cached function runs around this one:
  what that one stores must not be made of what this tier has.
"""

import datetime
import enum
import keyword
import linecache
import uuid
from collections.abc import Callable, Iterable
from inspect import Parameter as P
from typing import Any, NamedTuple

from scalekit.cache.clean import WAYS
from scalekit.cache.functions import Parameter, is_callers_own
from scalekit.cache.keys import QUICK, UNWRITABLE, Keys, write

_EQUALITIES: tuple[Any, ...] = (object.__eq__, str.__eq__, int.__eq__)


class _Exact(dict[type, bool]):
    def __missing__(self, cls: type) -> bool:
        known = self[cls] = isinstance(cls, enum.EnumMeta) and (
            # One that redefines equality may take two members for one.
            cls.__eq__ in _EQUALITIES
        )
        return known


EXACT: dict[type, bool] = _Exact(
    dict.fromkeys((str, int, bool, type(None), bytes, uuid.UUID, datetime.date), True)
)
"""The types whose values are equal only if they are spelled alike."""


class Compiled(NamedTuple):
    """The functions that were made for one signature. All take the parameters' values in order."""

    cached: Callable[..., Any]
    """Called like the original."""
    quick: Callable[..., str | None]
    """The key, if each value is of a quick type. Raises :data:`~scalekit.cache.keys.UNWRITABLE`."""
    local: Callable[..., tuple[Any, ...] | None]
    """The key in the first tier, if each value that enters it is of an exact type."""
    key: Callable[..., str]
    """The key that a question is about. Called like the original; what does not enter it may be missing."""
    run: Callable[..., Any]
    """Calls the original."""


def can_compile(function: Callable[..., Any], keys: Keys) -> bool:
    """Whether the signature is the function's own.

    One that another decorator has wrapped may care how it was called; ``*args`` have no places of their own.
    """
    return (
        keys.simple
        and not hasattr(function, "__wrapped__")
        and not hasattr(function, "__signature__")
        and all(name.isidentifier() and not keyword.iskeyword(name) for name, *_ in keys.parameters)
    )


def compile_for(
    function: Callable[..., Any],
    keys: Keys,
    *,
    is_async: bool,
    core: Any,
    running: Callable[[], Any],
    of_values: Callable[..., Any],
    get: Callable[[Any], Any],
    question: Callable[..., str],
) -> Compiled:
    """Generate what serves the hits of ``function``.

    Args:
        running: whether a cached function runs around this call.
        of_values: makes a call of the values in order.
        get: is asked for its result after a miss.
        question: the key, for questions that the generated code cannot answer.
    """
    p = _unused_prefix(keys.parameters)
    source = _source(keys, p, is_async=is_async, enabled=core.local.enabled)
    names = {
        "core": core,
        "local": core.local,
        "find": core.local.find,
        "clock": core.local.clock,
        "running": running,
        "counter": core.counter,
        "of_values": of_values,
        "get": get,
        "ask": question,
        "UNQUICK": (TypeError, *UNWRITABLE),
        "function": function,
        "identity": keys.identity,
        "own": object(),  # tells the entries of this function from all others
        "ways": WAYS,
        "callers": is_callers_own,
        "exact": EXACT,
        "QUICK": QUICK,
        "copy": keys.quick.copy,
        "start": keys.start,
        "write": write,
        "type": type,
        "TypeError": TypeError,
        **{f"default{place}": parameter.default for place, parameter in enumerate(keys.parameters)},
    }
    namespace = {p + name: value for name, value in names.items()}
    # A name in pointy brackets, and the lines where tracebacks and debuggers look for them.
    filename = f"<scalekit.cache for {keys.name}>"
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102  made of identifiers alone
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return Compiled(*(namespace[p + name] for name in ("cached", "quick", "exactly", "key", "run")))


def _unused_prefix(parameters: Iterable[Parameter]) -> str:
    prefix = "_"
    while any(parameter.name.startswith(prefix) for parameter in parameters):
        prefix += "_"
    return prefix


def _source(keys: Keys, p: str, *, is_async: bool, enabled: bool) -> str:
    parameters = keys.parameters
    values = ", ".join(parameter.name for parameter in parameters)
    by_place = values + ", /" if values else ""
    await_ = "await " if is_async else ""
    # What enters the key, by what it is called in the code; None where nothing does.
    asked: list[str | None] = []
    identified = ""
    for parameter in parameters:
        if parameter.role == "self" and keys.identity is not None:
            identified = f"{p}self = {p}identity({parameter.name})"
            asked.append(f"{p}self")
        else:
            asked.append(parameter.name if parameter.role == "key" else None)
    named = [name for name in asked if name is not None]
    callers = [parameter.name for parameter in parameters if parameter.role == "caller"]
    optional = any(parameter.role in ("caller", "ignored") for parameter in parameters)
    local = "".join(f", {p}type({name}), {name}" for name in named)
    lines = [f"{'async ' if is_async else ''}def {p}cached({_signature(parameters, p)}):"]
    if enabled:
        looks = [f"{p}core.dirty == 0", f"not {p}running()"]
        looks += [f"{p}ways[{p}type({name})]({name})" for name in callers]
        lines += [
            f"    if {' and '.join(looks)}:",
            f"        {identified}" if identified else "",
            "        try:",
            f"            {p}entry = {p}find(({p}own{local}{',' if not local else ''}))",
            f"        except {p}TypeError:",  # no hash
            f"            {p}entry = None",
            f"        if {p}entry is not None:",
            f"            {p}now = {p}clock()",
            f"            if {p}now < {p}entry.ends and {p}now < {p}local.horizon:",
            f"                {p}entry.seen = True",
            f"                {p}counter.local_hit()",
            f"                {p}decode = {p}entry.decode",
            f"                return {p}entry.value if {p}decode is None else {p}decode({p}entry.value)",
        ]
    lines += [f"    return {await_}{p}get({p}of_values({values}))"]

    quick = [f"{p}type({name}) in {p}QUICK" for name in named]
    left_out = [f"({name} is None or {p}callers({p}type({name})))" for name in callers]
    digest = [
        f"{p}digest = {p}copy()",
        f"{p}digest.update({p}write(({''.join(f'{name}, ' for name in asked)})))",
        f"return {p}start + {p}digest.hexdigest()",
    ]
    lines += _function(f"{p}quick({by_place})", identified, [*quick, *left_out], digest)
    # What was given for a session and is none enters the key, and this one has no place for it.
    exact = [*(f"{p}exact[{p}type({name})]" for name in named), *left_out]
    lines += _function(
        f"{p}exactly({by_place})", identified, exact, [f"return ({p}own{local}{',' if not local else ''})"]
    )
    given = [parameter for parameter in parameters if parameter.role in ("key", "self")]
    if optional:
        # None may stand for a session that is missing; then it takes a closer look which one that is.
        quick += [f"{name} is not None" for name in named]
    signature = _signature(given, p, parameters)
    if optional:
        lines += _function(f"{p}strict({signature})", identified, quick, digest)
        lines += [
            f"def {p}key(*{p}args, **{p}kwargs):",
            "    try:",
            f"        {p}made = {p}strict(*{p}args, **{p}kwargs)",
            f"    except {p}UNQUICK:",
            f"        {p}made = None",
            f"    return {p}ask(*{p}args, **{p}kwargs) if {p}made is None else {p}made",
        ]
    else:
        digest = ["try:", *(f"    {line}" for line in digest), f"except {p}UNQUICK:", "    pass"]
        lines += _function(f"{p}key({signature})", identified, quick, digest)
        lines[-1] = f"    return {p}ask({_passed(given)})"
    lines += [f"def {p}run({by_place}):", f"    return {p}function({_passed(parameters)})"]
    return "\n".join(line for line in lines if line.strip()) + "\n"


def _function(head: str, first: str, conditions: list[str], body: list[str]) -> list[str]:
    return [
        f"def {head}:",
        f"    {first}",
        f"    if {' and '.join(conditions) or 'True'}:",
        *(f"        {line}" for line in body),
        "    return None",
    ]


def _passed(parameters: Iterable[Parameter]) -> str:
    """The arguments of a call that hands all of ``parameters`` on."""
    return ", ".join(
        f"{parameter.name}={parameter.name}" if parameter.kind is P.KEYWORD_ONLY else parameter.name
        for parameter in parameters
    )


def _signature(given: Iterable[Parameter], p: str, of: Iterable[Parameter] | None = None) -> str:
    """``given`` as the parameters of a ``def``; the defaults are numbered as those of all, ``of``."""
    given = list(given)
    places = {parameter.name: place for place, parameter in enumerate(of or given)}
    parts: list[str] = []
    kinds = [parameter.kind for parameter in given]
    for place, parameter in enumerate(given):
        if parameter.kind is P.KEYWORD_ONLY and P.KEYWORD_ONLY not in kinds[:place]:
            parts.append("*")
        has_default = parameter.default is not P.empty
        parts.append(
            f"{parameter.name}={p}default{places[parameter.name]}" if has_default else parameter.name
        )
        if parameter.kind is P.POSITIONAL_ONLY and P.POSITIONAL_ONLY not in kinds[place + 1 :]:
            parts.append("/")
    return ", ".join(parts)
