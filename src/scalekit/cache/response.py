"""Which pages may be kept for everybody, and how a kept one is answered. Pure: no I/O, no clock of its own.

Rules:

* A request takes part if it is a GET or HEAD without ``Authorization``, without ``Range``, without a body
  (an application may look at it, and no key has it), and without cookies other than those that are ignored.
  All others pass: they are answered as without a cache, and leave nothing.
* What may be one visitor's is never kept: a response of a run that has read the session or that sets a
  cookie, and one whose ``Cache-Control`` says ``private``, ``no-store`` or ``no-cache``.
* A page is kept for what its key tells apart: scheme, host, path, query and the headers in ``vary``. If its
  own ``Vary`` names another header, or ``*``, it is not kept: others would get what is not meant for them.
* Kept are the statuses 200, 301, 308, 404 and 410, with all of the body at hand, as long as its
  ``Content-Length`` says, and not larger than ``max_size``.
* ``Age`` goes on from what the page says itself: it may come from another cache.
* The entity tag is a hash of the body, hence equal on every server; one that the page has is left to it.
* Nobody can recall what a browser keeps. So it is told to ask each time (``no-cache``), which costs a 304,
  unless ``max_age`` or the page itself say how long it need not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b

from scalekit._http import get, matches_etag, vary_on
from scalekit._options import check_count, check_text
from scalekit.errors import ConfigurationError
from scalekit.types import Headers

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_KEPT_STATUSES = frozenset({200, 301, 308, 404, 410})
_FORBIDDEN = frozenset({b"private", b"no-store", b"no-cache"})
# Of one connection or one moment: the server that answers says them anew.
_MOMENTARY = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"date", b"age", b"content-length"}
)
# What describes a body, and has nothing to say where none is sent (RFC 9110, 15.4.5).
_OF_THE_BODY = frozenset({b"content-type", b"content-encoding", b"content-language", b"last-modified"})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The options of one cached page. Checked when built.

    Args:
        vary: names of request headers that the page depends on, in lower case.
        ignore_cookies: names of cookies that do not change the page; ``*`` stands for any characters.
        max_age: seconds that browsers and proxies may keep it without asking.
        max_size: bytes of the largest body that is kept.
        ignore: parameters of the function that do not change the page.

    Raises:
        ConfigurationError: a name is no header's, or one that would put a person into the key.
    """

    vary: tuple[bytes, ...] = ()
    ignore_cookies: tuple[str, ...] = ()
    max_age: int = 0
    max_size: int = 1_048_576
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.vary:
            if not _TOKEN.fullmatch(name) or name == b"*":
                raise ConfigurationError(f"vary={name.decode('latin-1')!r} is no name of a header")
            if name in (b"cookie", b"authorization"):
                raise ConfigurationError(
                    f"vary={name.decode()!r}: a page that depends on it is one visitor's, and is not kept"
                )
        check_count(self.max_size, option="max_size=", least=1, cure="it is the bytes of the largest body")


def rules(
    *,
    vary: Iterable[str],
    ignore_cookies: Iterable[str],
    ignore: Iterable[str],
    max_age: float,
    max_size: int,
) -> Rules:
    """:class:`Rules` of options as they are written."""
    vary, ignore_cookies, ignore = tuple(vary), tuple(ignore_cookies), tuple(ignore)
    for option, given in (("vary=", vary), ("ignore_cookies=", ignore_cookies), ("ignore=", ignore)):
        for name in given:
            check_text(name, option=option, wanted="a list of names, as text")
    names = sorted({name.strip().lower() for name in vary})
    return Rules(
        vary=tuple(name.encode("latin-1", "replace") for name in names),
        ignore_cookies=tuple(ignore_cookies),
        max_age=int(max_age),
        max_size=max_size,
        ignore=ignore,
    )


@dataclass(frozen=True)
class Kept:
    """A page as it is stored.

    Args:
        status: the HTTP status.
        headers: with ``etag``, ``vary`` and ``cache-control``.
        body: all of it.
        made: when, in seconds since 1970 by the clock of the server that made it; less the ``Age`` it came
            with.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    made: float


def objection(method: str, headers: Iterable[tuple[bytes, bytes]], rules: Rules) -> str | None:
    """Why a request takes no part; ``None`` if it may be answered with a page that is for everybody."""
    if method not in ("GET", "HEAD"):
        return f"the method is {method}"
    for name, value in headers:
        if name in (b"authorization", b"range"):
            return f"the request has {name.decode().title()}"
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return "the request has a body"
        if name == b"cookie" and (cookie := _not_ignored(value, rules.ignore_cookies)):
            return f"the request has the cookie {cookie!r:.60}, which is not in ignore_cookies="
    return None


def _not_ignored(cookies: bytes, ignored: Sequence[str]) -> str | None:
    names = (pair.partition(b"=")[0].strip().decode("latin-1") for pair in cookies.split(b";"))
    others = (name for name in names if name and not any(fnmatchcase(name, one) for one in ignored))
    return next(others, None)


def variant(headers: Sequence[tuple[bytes, bytes]], rules: Rules) -> str:
    """What the headers in ``vary`` say, in their order: a part of the key."""
    # A header's value has no line break in it, and one that is empty is not one that is missing.
    values = (get(headers, name) for name in rules.vary)
    return "\n".join("" if value is None else f"={value.decode('latin-1')}" for value in values)


def refusal(
    status: int, headers: Iterable[tuple[bytes, bytes]], rules: Rules, *, size: int = 0
) -> str | None:
    """Why a response is not kept; ``None`` if it may be."""
    if status not in _KEPT_STATUSES:
        return f"its status is {status}"
    if size > rules.max_size:
        return f"its body has {size} bytes, more than max_size={rules.max_size}"
    for name, value in headers:
        name = name.lower()
        if name == b"set-cookie":
            return "it sets a cookie"
        if name.endswith(b"cache-control"):  # CDN-Cache-Control and its like, too
            directives = {part.partition(b"=")[0].strip().lower() for part in value.split(b",")}
            if found := directives & _FORBIDDEN:
                return f"its Cache-Control says {min(found).decode()}"
        if name == b"vary":
            fields = {part.strip().lower() for part in value.split(b",")}
            if others := fields.difference(rules.vary, (b"",)):
                return f"its Vary names {min(others).decode('latin-1')}, which is not in vary="
    return None


def is_whole(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
    """Whether ``body`` is as long as the headers say: one that broke off is nobody's page."""
    length = get(headers, b"content-length")
    return length is None or length.strip() == b"%d" % len(body)


def keep(
    status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, rules: Rules, *, now: float
) -> Kept:
    """A response, for which there is no :func:`refusal`, with what caches need to know of it."""
    headers = list(headers)
    age = get(headers, b"age") or b""
    kept: Headers = [(name.lower(), value) for name, value in headers]
    kept = [pair for pair in kept if pair[0] not in _MOMENTARY]
    for name in rules.vary:
        vary_on(kept, name)
    if get(kept, b"cache-control") is None:
        lifetime = b"public, max-age=%d" % rules.max_age if rules.max_age else b"no-cache"
        kept.append((b"cache-control", lifetime))
    if status == 200 and get(kept, b"etag") is None:
        kept.append((b"etag", b'"%b"' % blake2b(body, digest_size=16).hexdigest().encode()))
    # RFC 9111 counts to 2^31 seconds.
    made = now - min(int(age), 2**31) if age.isdigit() and len(age) < 20 else now
    return Kept(status, tuple(kept), body, made)


def answer(kept: Kept, headers: Sequence[tuple[bytes, bytes]], *, now: float) -> tuple[int, Headers, bytes]:
    """Status, headers and body for a request with ``headers``: 304 if it has the page already."""
    answered: Headers = list(kept.headers)
    if age := max(0, int(now - kept.made)):
        answered.append((b"age", b"%d" % age))
    etag = get(kept.headers, b"etag")
    if kept.status == 200 and etag is not None and matches_etag(get(headers, b"if-none-match"), etag):
        return 304, [pair for pair in answered if pair[0] not in _OF_THE_BODY], b""
    answered.append((b"content-length", b"%d" % len(kept.body)))
    return kept.status, answered, kept.body
