"""Pages that others wrote, and what the rewriter makes of them beside a real parser."""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from scalekit.cdn import Assets, HtmlRewriter
from tests.cdn.oracle import LISTS, URLS, candidates, expected, style_urls
from tests.cdn.trees import Node, lexbor_nodes

CDN = "https://cdn.example.net"
_ATTRIBUTE = re.compile(rb"""((?:src|href|poster|data|content|srcset)=["']?|url\(["']?)(?!\s*data:)""")
_CLASS = re.compile(rb"\b(?=class=)")


@dataclass
class Tally:
    """What was seen. ``unexpected`` are the times that one came out otherwise than a parser would have it."""

    pages: int = 0
    tags: int = 0
    rewritten: int = 0
    unexpected: int = 0


class Corpus:
    """The pages below a folder, as a site whose files are all assets, pages and directories excepted.

    Args:
        root: the folder.
        scratch: an empty one, for stand-ins of the files.
        pages: the pages, if not all that are there.
    """

    def __init__(self, root: Path, scratch: Path, pages: Iterable[Path] | None = None) -> None:
        self.root, self.tally = root, Tally()
        self.pages = sorted(root.rglob("*.htm*") if pages is None else pages)
        self._dice = random.Random(1)
        for page in self.pages:
            base = self.path(page)
            for url in _urls(lexbor_nodes(page.read_bytes())):
                _stand_in(scratch, base, url)
        (scratch / "logo.png").touch()
        self.assets = Assets(scratch, url="/site/", cdn=CDN)

    def path(self, page: Path) -> str:
        """The path of a page's URL."""
        return "/site/" + quote(page.relative_to(self.root).as_posix())

    def check(self) -> Tally:
        """Rewrite each page as it is, with URLs that are all an asset's, and with such a style all over."""
        for page in self.pages:
            body = page.read_bytes()
            self.tally.pages += 1
            self._compare(body, self.path(page))
            self._compare(_ATTRIBUTE.sub(rb"\1/site/logo.png?", body), "/")
            self._compare(_CLASS.sub(rb"style='a:url(logo.png)' ", body), "/site/x")
        return self.tally

    def _compare(self, page: bytes, path: str) -> None:
        rewriter = HtmlRewriter(self.assets, path=path, host="testserver")
        result = rewriter.feed(page) + rewriter.close()
        nodes = lexbor_nodes(page)
        same = lexbor_nodes(result) == expected(nodes, self.assets, path) and not rewriter.failed
        self.tally.tags += sum(not name.endswith("#text") and name != "#comment" for name, _, _ in nodes)
        self.tally.rewritten += rewriter.count
        self.tally.unexpected += not (same and self._in_pieces(page, path) == result)

    def _in_pieces(self, page: bytes, path: str) -> bytes:
        rewriter = HtmlRewriter(self.assets, path=path, host="testserver")
        pieces, position = [], 0
        while position < len(page):
            size = self._dice.randint(1, 3000)
            pieces.append(rewriter.feed(page[position : position + size]))
            position += size
        return b"".join(pieces) + rewriter.close()


def _urls(nodes: list[Node]) -> Iterator[str]:
    for name, attributes, text in nodes:
        for key in (*URLS.get(name, ()), "style", LISTS.get(name, "")):
            value = attributes.get(key, "")
            if key == "style":
                yield from (value[start:stop] for start, stop in style_urls(value))
            elif key in ("srcset", "imagesrcset"):
                yield from (value[start:stop] for start, stop in candidates(value))
            else:
                yield value
        if name == "style#text":
            yield from (text[start:stop] for start, stop in style_urls(text))


def _stand_in(folder: Path, base: str, url: str) -> None:
    """An empty file where the site has one that ``url`` means."""
    try:
        path = unquote(urlsplit(urljoin(f"http://testserver{base}", url.strip())).path, errors="strict")
    except ValueError:
        return
    name = path.removeprefix("/site/")
    parts = name.split("/")
    if name == path or name.endswith(("html", "/")) or len(name) > 150 or not name.isprintable():
        return
    if any(part.startswith(".") or not part for part in parts):
        return
    target = folder / name
    if any(parent.is_file() for parent in target.parents) or target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
