"""The options of ``PolicyMiddleware``, checked, and what they mean for a request. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypedDict, get_args

from scalekit._options import check_count, check_items, check_kind
from scalekit.cdn._cache_tags import places
from scalekit.cdn._exchange import Exchange, Wire
from scalekit.cdn._paths import fits, path_pattern
from scalekit.cdn._query import masked, normal
from scalekit.cdn.policy import CachePolicy
from scalekit.errors import ConfigurationError
from scalekit.types import Headers

Others = Literal["leave", "private"]

_TARGETED = re.compile(r"[a-z0-9-]*cdn-cache-control|surrogate-control|edge-control")
_TAGGING = re.compile(r"[a-z0-9-]+")


class PolicyOptions(TypedDict, total=False):
    """What both middlewares take.

    * ``policies``: by path, without what the application is mounted at, as in :class:`~scalekit.cdn.Shield`'s
      ``exempt``: ``"/about"`` is one, ``"/news/"`` all below it (``"/"``
      is every page), ``"/news/{$}"`` and ``"/{$}"`` that page alone, and
      ``"/products/{sku}"`` has a segment of any text. The first that fits holds, and beside it the one that
      the endpoint has as a decorator.
    * ``others``: ``"leave"`` (default) leaves what is not opted in; ``"private"`` sends ``private, no-store``
      where the application says nothing.
    * ``cdn_headers``: which headers ``cdn_max_age`` goes into; default ``["CDN-Cache-Control"]``. Others are
      ``"Cloudflare-CDN-Cache-Control"`` and its like, and ``"Surrogate-Control"``, which Fastly reads.
    * ``tag_headers``: which headers tags go into; default ``["Surrogate-Key", "Cache-Tag"]``.
    * ``max_tags``: how many tags of a response the CDN keeps; default 50, as CloudFront does.
    """

    policies: Mapping[str, CachePolicy]
    others: Others
    cdn_headers: Iterable[str]
    tag_headers: Iterable[str]
    max_tags: int


class Policies:
    """The options, checked.

    Raises:
        ConfigurationError: one is wrong.
    """

    def __init__(
        self,
        *,
        policies: Mapping[str, CachePolicy] | None = None,
        others: Others = "leave",
        cdn_headers: Iterable[str] = ("CDN-Cache-Control",),
        tag_headers: Iterable[str] = ("Surrogate-Key", "Cache-Tag"),
        max_tags: int = 50,
    ) -> None:
        if others not in get_args(Others):
            raise ConfigurationError(f"others={others!r:.60}; use 'leave' or 'private'")
        check_count(
            max_tags, option="max_tags=", least=1, cure="it is how many tags the CDN keeps of a response"
        )
        self.wire = Wire(
            cdn_headers=_names(cdn_headers, _TARGETED, option="cdn_headers="),
            tag_headers=_names(tag_headers, _TAGGING, option="tag_headers="),
            max_tags=max_tags,
            others=others,
        )
        check_kind({} if policies is None else policies, Mapping, option="policies=", wanted="a dict by path")
        self._table = []
        for path, policy in (policies or {}).items():
            check_kind(policy, CachePolicy, option=f"policies[{path!r:.60}]", wanted="a CachePolicy")
            pattern = path_pattern(path, option="policies=")
            unknown = set[str]().union(*map(places, policy.tags)) - set(pattern.groupindex)
            if unknown:
                raise ConfigurationError(
                    f"policies[{path!r:.60}]: its tags name {unknown}, its path does not"
                )
            self._table.append((pattern, policy))

    def exchange(self, method: str, path: str, headers: Headers) -> tuple[Exchange, CachePolicy | None]:
        """An exchange, opted in where the path is, and the policy for that."""
        exchange = Exchange(self.wire, method, path, headers)
        for pattern, policy in self._table:
            values = fits(path, pattern)
            if values is not None:
                exchange.opt_in(policy, values)
                return exchange, policy
        return exchange, None


def normal_query(exchange: Exchange, policy: CachePolicy | None, query: str) -> str:
    """The query that the application is to see."""
    if policy is None or policy.query is None or not query or exchange.method not in ("GET", "HEAD"):
        return query
    names = set(policy.query)
    if (name := masked(query, names)) is not None:
        exchange.doubt = f"its query spells {name!r:.60} as the CDN may not know it"
    return normal(query, names)


def _names(names: Iterable[str], known: re.Pattern[str], *, option: str) -> tuple[bytes, ...]:
    found = []
    for name in check_items(names, option=option):
        if not isinstance(name, str) or not known.fullmatch(name.lower()):
            raise ConfigurationError(f"{option}: {name!r:.60} is no header that a CDN reads for this")
        found.append(name.lower().encode())
    return tuple(found)
