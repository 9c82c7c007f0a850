"""Files from another host that browsers use only if that host allows it: by ``Access-Control-Allow-Origin``.

Rules:

* Asked for are modules, what has the attribute ``crossorigin``, preloaded fonts, and a font of the
  application's own assets at a CDN. One of each host, for two hosts: a setting is a host's, as a rule.
* Who does not answer, or has no such file, is not judged: that is another matter.
"""

from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

from scalekit.ops.doctor import site
from scalekit.ops.doctor.findings import Finding, finding

_HOSTS = 2
_FONTS = (".woff2", ".woff", ".ttf", ".otf")
_LINKS = frozenset({"stylesheet", "modulepreload", "preload", "icon", "manifest"})


def examine(page: site.Answer, fonts: Iterable[str], *, timeout: float) -> Iterator[Finding]:
    """Ask for what ``page`` needs from other hosts.

    Args:
        fonts: URLs of some that pages may use.
        timeout: seconds for each answer.
    """
    at = urlsplit(page.url)
    origin = f"{at.scheme}://{at.netloc}"
    for url in asked(page, fonts):
        try:
            answer = site.ask(url, timeout=timeout, follow=True, checked=True, origin=origin)
        except OSError:
            continue
        if (found := judge(answer, origin=origin)) is not None:
            yield found


def asked(page: site.Answer, fonts: Iterable[str]) -> list[str]:
    """A URL of each other host. Pure."""
    parser = _Asking()
    if "html" in page.header("content-type"):
        parser.feed(page.body.decode("utf-8", "replace"))
    at, found = urlsplit(page.url), dict[str, str]()
    for url in site.resolved([*parser.found, *fonts], page):
        if url.scheme in ("http", "https") and "@" not in url.netloc and (url.scheme, url.netloc) != at[:2]:
            found.setdefault(url.netloc, url._replace(fragment="").geturl())
    return list(found.values())[:_HOSTS]


def judge(answer: site.Answer, *, origin: str) -> Finding | None:
    """Whether a page of ``origin`` may use a file. Pure."""
    if answer.status != 200 or answer.header("access-control-allow-origin") in ("*", origin):
        return None
    allowed = answer.header("access-control-allow-origin")
    with_what = f"for {allowed[:80]} only" if allowed else "without Access-Control-Allow-Origin"
    return finding(
        "assets-cors",
        what=f"{answer.url} comes {with_what}: browsers refuse the fonts, the modules and what has "
        f"crossorigin that pages of {origin} have from there",
        cure="let the CDN send Access-Control-Allow-Origin: * with assets, as scalekit does: CloudFront by "
        "the response headers policy SimpleCORS, nginx by add_header; and purge what it has kept without",
        where=answer.url,
    )


def font_of(assets: Iterable[object]) -> Iterator[str]:
    """The URL of a font of each of the application's ``Assets`` that are at a CDN."""
    for one in assets:
        if getattr(one, "cdn", None) is not None:
            names = (asset.name for asset in one if asset.name.endswith(_FONTS))  # type: ignore[attr-defined]
            yield from [one.url(name) for name in names][:1]  # type: ignore[attr-defined]


class _Asking(HTMLParser):
    """What of a page is asked for with CORS."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        rel = {*(said.get("rel") or "").lower().split()}
        cross = "crossorigin" in said
        if tag == "link":
            wanted = "modulepreload" in rel or (cross and not rel.isdisjoint(_LINKS))
        else:
            module = tag == "script" and (said.get("type") or "").strip().lower() == "module"
            wanted = module or (cross and tag in ("script", "img", "video", "audio"))
        if wanted and (value := said.get("href" if tag == "link" else "src")):
            self.found.append(value.strip())
