"""A call of one of the application's functions, as Python writes it: ``shop:top(category="books")``."""

import ast
from typing import Any, NamedTuple

from scalekit.errors import ConfigurationError


class Call(NamedTuple):
    """``target`` is where the function is, ``module:name``."""

    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def parse_call(text: str) -> Call:
    """What ``text`` says. Nothing in it is run: its arguments are literals.

    Raises:
        ConfigurationError: it is no such call.
    """
    target, bracket, rest = text.partition("(")
    try:
        call = ast.parse(f"f({rest.strip()}", mode="eval").body
    except (SyntaxError, ValueError):  # a NUL is the latter
        call = None
    if not bracket or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ConfigurationError(f"{text!r:.200} is no call; write it as 'module:function(1, name=\"x\")'")
    kwargs = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ConfigurationError(f"{text!r:.200}: name each argument; ** is not understood")
        kwargs[keyword.arg] = _value(keyword.value, text)
    return Call(target.strip(), tuple(_value(arg, text) for arg in call.args), kwargs)


def _value(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ConfigurationError(
            f'{text!r:.200}: {ast.unparse(node):.80} is no literal, such as 1 or "x"; for such arguments '
            "call the function's invalidate() from Python"
        ) from None
