"""Which requests go first when there is not room for all. Rules only.

* :attr:`Priority.NORMAL`, unless something else is said, has the limit.
* :attr:`Priority.CRITICAL` has half as much again: what the others fill up leaves room for it.
* :attr:`Priority.LOW` has half of it: it gives way before the others feel anything.
* :attr:`Priority.EXEMPT` is neither turned away nor counted.

The first rule that fits decides. The probes of :class:`~scalekit.ops.asgi.OpsMiddleware` are exempt if none
does.
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from scalekit import _http
from scalekit._options import check_items, check_kind, check_text
from scalekit.errors import ConfigurationError
from scalekit.types import Headers


class Priority(enum.Enum):
    """How dear a request is; the value is its name in the metrics."""

    LOW = "low"
    NORMAL = "normal"
    CRITICAL = "critical"
    EXEMPT = "exempt"

    def room(self, limit: int) -> int:
        """Up to how many requests in flight it may come in, under a limit of so many."""
        match self:
            case Priority.LOW:
                return max(1, limit // 2)
            case Priority.CRITICAL:
                return limit + max(2, limit // 2)
        return limit


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The priority of some requests: those that fit all that is given.

    Args:
        priority: theirs.
        path: a path, and all that is below it: ``"/shop"`` is ``/shop`` and ``/shop/cart``, not ``/shops``.
            Seen from the application, without the prefix it is mounted at. All paths by default.
        methods: such as ``["POST"]``; all by default. WebSockets are ``GET``.
        cookie: the name of a cookie that they carry, such as the session's: who has begun is let finish.
            It is not checked, so whoever knows the name can send one.

    Raises:
        ConfigurationError: something is of another type, or a path does not begin with a slash.
    """

    priority: Priority
    path: str = "/"
    methods: Iterable[str] = ()
    cookie: str | None = None

    def __post_init__(self) -> None:
        check_kind(self.priority, Priority, option="priority=", wanted="such as Priority.CRITICAL")
        check_text(self.path, option="path=", wanted="a path, such as '/checkout'")
        if not self.path.startswith("/"):
            raise ConfigurationError(f"path={self.path!r:.100} must begin with a slash, as '/checkout' does")
        methods = check_items(self.methods, option="methods=")
        for method in methods:
            if not isinstance(method, str) or not re.fullmatch("[A-Z]+", method):
                raise ConfigurationError("methods= must be names in capitals, such as ['POST']")
        object.__setattr__(self, "methods", frozenset(methods))
        if self.cookie is not None and not _http.is_field_name(self.cookie):
            raise ConfigurationError("cookie= must be the name of a cookie, such as '__Host-session'")

    def fits(self, method: str, path: str, headers: Headers) -> bool:
        """Whether it is about such a request."""
        folder = self.path.rstrip("/")
        return (
            (path == self.path or path == folder or path.startswith(folder + "/"))
            and (not self.methods or method in self.methods)
            and (self.cookie is None or _http.read_cookie(headers, self.cookie) is not None)
        )


PROBES = Rule(path="/health", priority=Priority.EXEMPT)


def checked_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """``rules``, and after them the one for the probes.

    Raises:
        ConfigurationError: something else is among them.
    """
    checked: tuple[Rule, ...] = check_items(rules, option="rules=")
    for rule in checked:
        check_kind(
            rule,
            Rule,
            option="each of rules=",
            wanted="a rule, such as Rule(path='/checkout', priority=Priority.CRITICAL)",
        )
    return (*checked, PROBES)
