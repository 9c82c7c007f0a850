"""What a running site answers: asked once, as any visitor would."""

import http.client
import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import SplitResult, urljoin, urlsplit

from scalekit.errors import ConfigurationError
from scalekit.ops.doctor.findings import Finding, finding

_MOST = 1024 * 1024  # bytes of a page
_HOPS = 4
_TARGETED = ("cdn-cache-control", "surrogate-control", "cloudflare-cdn-cache-control")

_HEX = re.compile(r"[.\-_][0-9a-fA-F]{8,64}\.")
_WORD = re.compile(r"[.\-_]([A-Za-z0-9_-]{8,22})\.")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case, one pair for each line."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """All lines of a header, as one."""
        return ", ".join(value for other, value in self.headers if other == name)


def check_url(url: str, *, option: str) -> str:
    """``url``, if it can be asked.

    Raises:
        ConfigurationError: it has no scheme or no host, or a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigurationError(
            f"{option} must be an address such as https://shop.example, without a password"
        )
    return url


def ask(url: str, *, timeout: float, follow: bool, checked: bool, origin: str | None = None) -> Answer:
    """GET ``url``.

    Args:
        timeout: seconds for connecting, and for each piece of the answer.
        follow: go where redirects lead, on the same host.
        checked: refuse a certificate that is not right.
        origin: that of the page that asks, as a browser names it; by default it is no page.

    Raises:
        OSError: there was no answer.
    """
    for _ in range(_HOPS):
        answer = _get(url, timeout, checked, origin)
        target = urljoin(url, answer.header("location"))
        if not follow or answer.status not in (301, 302, 303, 307, 308):
            return answer
        if urlsplit(target).hostname != urlsplit(url).hostname:
            return answer
        url = target
    return answer


def _get(url: str, timeout: float, checked: bool, origin: str | None) -> Answer:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if not checked:  # who goes round a CDN asks by the address, which no certificate has
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "scalekit doctor", "Accept": "text/html, */*"}
        connection.request("GET", target, headers=headers | ({"Origin": origin} if origin else {}))
        got = connection.getresponse()
        received = tuple((name.lower(), value) for name, value in got.getheaders())
        return Answer(url, got.status, received, got.read(_MOST))
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r:.200}") from error
    finally:
        connection.close()


def judge_page(answer: Answer) -> Iterator[Finding]:
    """What is wrong with a page. Pure."""
    where = answer.url
    if answer.status >= 500:
        yield unreachable(where, f"status {answer.status}", option="--url")
        return
    cookies = [value.partition("=")[0].strip() for name, value in answer.headers if name == "set-cookie"]
    how = kept_by(answer)
    if cookies and how:
        yield finding(
            "cached-cookie",
            what=f"a cache may keep this page ({how}), and it sets the cookie {cookies[0]!r:.60}: all who "
            "get it from there are the same visitor",
            cure="PolicyMiddleware of scalekit.cdn around what sets cookies; or Cache-Control: private",
            where=where,
        )
    plain = unhashed(answer)
    if plain:
        more = f" and {len(plain) - _SHOWN} more" if len(plain) > _SHOWN else ""
        yield finding(
            "assets-without-hash",
            what=f"the page has {', '.join(plain[:_SHOWN])}{more}, whose URL stays when the file changes: "
            "browsers and CDNs show the old one",
            cure="AssetMiddleware of scalekit.cdn, or {{ asset('...') }} in the templates",
            where=where,
        )


def kept_by(answer: Answer) -> str | None:
    """The header by which a shared cache may keep an answer; ``None`` if none may."""
    from scalekit.cdn._directives import forbidding, lifetime, parse

    for name in (*_TARGETED, "cache-control"):
        said = answer.header(name).encode("latin-1", "replace")
        if not said:
            continue
        if forbidding(said) is not None:
            if name == "cache-control":
                return None
            continue
        if lifetime(parse(said), "s-maxage", "max-age"):
            return f"{name.title()}: {said.decode('latin-1'):.100}"
    return None


class _References(HTMLParser):
    """The scripts, style sheets and images of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        name = "href" if tag == "link" else "src"
        wanted = tag in ("script", "img") or (
            tag == "link" and "stylesheet" in (said.get("rel") or "").lower()
        )
        if wanted and (value := said.get(name)):
            self.found.append(value.strip())


def unhashed(answer: Answer) -> list[str]:
    """The paths of the page's own files whose URLs do not change with their content."""
    if "html" not in answer.header("content-type"):
        return []
    parser = _References()
    parser.feed(answer.body.decode("utf-8", "replace"))
    host = urlsplit(answer.url).netloc
    urls = resolved(parser.found, answer)
    paths = [url.path for url in urls if url.netloc == host and not url.query and "." in url.path]
    return list(dict.fromkeys(path for path in paths if not has_hash(path)))


def resolved(references: Iterable[str], answer: Answer) -> Iterator[SplitResult]:
    """The URLs that references of a page mean, without those that mean none."""
    for one in references:
        try:
            yield urlsplit(urljoin(answer.url, one))
        except ValueError:  # as of http://[
            continue


def has_hash(path: str) -> bool:
    """Whether there is what looks like a fingerprint in a file's name."""
    name = path.rpartition("/")[2]
    if _HEX.search(name):
        return True
    words = _WORD.findall(name)
    return any(re.search(r"\d", word) or (word.lower() != word != word.upper()) for word in words)


def judge_origin(answer: Answer) -> Iterator[Finding]:
    """Whether the origin has answered somebody who is no CDN. Pure."""
    if answer.status not in (401, 403):
        yield finding(
            "origin-open",
            what=f"the origin answers anybody ({answer.status}): who knows its address goes round the CDN",
            cure="ShieldMiddleware of scalekit.cdn around the application, and the secret in the CDN; or a "
            "firewall that lets in the CDN alone",
            where=answer.url,
        )


def unreachable(url: str, reason: str, *, option: str) -> Finding:
    """A site that did not answer."""
    return finding(
        "site-unreachable",
        what=f"{url} does not answer: {reason}",
        cure=f"is the address of {option} right, and is the site up?",
        where=url,
    )
