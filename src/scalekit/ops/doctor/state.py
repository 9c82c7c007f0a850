"""Variables of a module that requests change: each process has its own, and nobody else hears of it.

Read from the source. Of a function that the application uses, and is not of a library: ``n += 1`` of a name
that it calls global, assignments to an item of a module's list, dict or set, and methods that change these. A
global that is set once, such as a pool that is made at start-up, is none.
"""

import ast
import functools
from collections import deque
from collections.abc import Iterator
from types import FunctionType

from scalekit.ops.doctor.findings import Finding, finding
from scalekit.ops.doctor.walk import is_own_code

_KINDS = (list, dict, set, deque)
_CHANGING = frozenset(
    (
        *("add", "append", "appendleft", "clear", "discard", "extend", "insert"),
        *("pop", "popitem", "popleft", "remove", "setdefault", "update"),
    )
)


def judge(function: FunctionType) -> Iterator[Finding]:
    """The variables that a function changes, each once."""
    if not is_own_code(function.__code__.co_filename):
        return
    for name, line in changed(function):
        yield finding(
            "process-variable",
            what=f"{function.__qualname__}() changes {name}: each process has its own, until it restarts",
            cure="keep it in the session, the cache or the database; what may differ between processes, as "
            "counts and memos may, is fine",
            where=f"{function.__module__}:{line}",
        )


def changed(function: FunctionType) -> list[tuple[str, int]]:
    """The globals that ``function`` changes, with the first line that does."""
    node = _functions(function.__code__.co_filename).get(function.__code__.co_firstlineno)
    if node is None:
        return []
    declared = {name for one in ast.walk(node) if isinstance(one, ast.Global) for name in one.names}
    stored = {
        one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }
    own = {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)} | stored - declared
    found: dict[str, int] = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Name):
            if inner.target.id in declared:
                found.setdefault(inner.target.id, inner.lineno)
            continue
        name = _changed_by(inner)
        # By its type: a proxy such as flask.session is asked nothing.
        if name not in own and issubclass(type(function.__globals__.get(name or "")), _KINDS):
            found.setdefault(name or "", getattr(inner, "lineno", 0))
    return list(found.items())


def _changed_by(node: ast.AST) -> str | None:
    """The name whose list, dict or set a node changes."""
    changed: ast.AST | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        changed = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        changed = node.func.value if node.func.attr in _CHANGING else None
    while isinstance(changed, ast.Subscript):
        changed = changed.value
    return changed.id if isinstance(changed, ast.Name) else None


@functools.cache
def _functions(file: str) -> dict[int, ast.AST]:
    """The functions of a source file by their first line, that of a decorator where there is one."""
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return {}
    return {
        min([node.lineno, *(one.lineno for one in node.decorator_list)]): node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
