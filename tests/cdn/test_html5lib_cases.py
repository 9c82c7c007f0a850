"""The cases of html5lib-tests: which start tags a text has, in every state of the tokenizer."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from scalekit.cdn import Assets, HtmlRewriter, _entities
from scalekit.cdn._cursor import TagCursor
from scalekit.cdn._syntax import attributes_of
from scalekit.cdn._text import CDATA, content_of
from scalekit.cdn._tokenizer import Tokenizer

CASES = json.loads(Path(__file__).with_name("html5lib_tests").joinpath("tokenizer.json").read_text("utf-8"))
IMG = b'<img src="/static/logo.png">'


def _text(value: bytes) -> str:
    return value.decode().replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


class Tags(Tokenizer):
    """Notes the start tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def _start_tag(self, data: bytes, opening: int, end: int, name: bytes, namespace: str) -> None:
        start = opening + 1 + len(name)
        cursor = TagCursor()
        cursor.find_end(data, opening + 2)
        attributes = {
            _text(key): _entities.decode(_text(value))
            for key, value in attributes_of(data, start, end).items()
        }
        self.found.append([_text(name), attributes, cursor.self_closing])


class Stepped(HtmlRewriter):
    """Takes every page token by token."""

    _data = Tokenizer._data


def begin(tokenizer: Tokenizer, state: str, last: str | None) -> None:
    """Put a tokenizer into a state."""
    if state == "CDATA section":
        tokenizer._enter(CDATA, 0)
    elif state != "Data":
        names = {"PLAINTEXT": "plaintext", "RCDATA": "title", "RAWTEXT": "style", "Script data": "script"}
        text = content_of((last or names[state]).encode())
        assert text is not None
        tokenizer._enter(text, 0)


def test_the_start_tags_are_those_of_the_standard() -> None:
    """Names, attributes, values and slashes of more than a thousand texts, in one piece and byte by byte."""
    seen: Counter[str] = Counter()
    for text, state, last, tags in CASES:
        page = text.encode()
        for size in (len(page) or 1, 1):
            tokenizer = Tags()
            begin(tokenizer, state, last)
            out = b"".join(
                tokenizer._run(tokenizer._rest + page[index : index + size], tokenizer._sent)
                for index in range(0, len(page), size)
            )
            assert out + tokenizer._rest[tokenizer._sent :] == page
            assert tokenizer.found == tags, (text, state)
        seen[state] += 1
        seen["tags"] += len(tags)
    assert seen["Data"] > 1000
    assert len(seen) == 7
    assert seen["tags"] > 300


def test_what_is_skimmed_is_what_is_tokenized(assets: Assets) -> None:
    """An image behind each of the texts changes or not, whichever way the page is read."""
    changed = 0
    for text, state, last, _ in CASES:
        for page in (text.encode() + IMG, IMG + text.encode() + b"\"'>" + IMG + b"-->" + IMG):
            results = []
            for kind in (HtmlRewriter, Stepped):
                rewriter = kind(assets)
                begin(rewriter, state, last)
                results.append(rewriter.feed(page) + rewriter.close())
                assert not rewriter.failed
            assert results[0] == results[1], (text, state)
            changed += results[0] != page
    assert changed > len(CASES)
