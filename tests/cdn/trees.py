"""Pages as real parsers read them, one list of nodes whichever parser it was.

A node is its name, its attributes and its text. An element of SVG is called ``"svg image"``, one of MathML
``"math mi"``. A text is called after the element it stands in, such as ``"style#text"``, and has that one's
``type``.
"""

from collections.abc import Iterator
from typing import Any

import html5lib
from selectolax.lexbor import LexborHTMLParser

Node = tuple[str, dict[str, str], str]

_NAMESPACES = {
    "{http://www.w3.org/1999/xhtml}": "",
    "{http://www.w3.org/2000/svg}": "svg ",
    "{http://www.w3.org/1998/Math/MathML}": "math ",
    "{http://www.w3.org/1999/xlink}": "xlink:",
    "{http://www.w3.org/XML/1998/namespace}": "xml:",
    "{http://www.w3.org/2000/xmlns/}": "xmlns:",
}
_POINTS = {"svg foreignobject", "svg desc", "svg title"}
_POINTS |= {f"math {name}" for name in ("mi", "mo", "mn", "ms", "mtext", "annotation-xml")}


def html5lib_nodes(page: bytes) -> list[Node]:
    """By html5lib, which follows the standard to the letter, but knows no templates."""

    def short(name: str) -> str:
        end = name.find("}") + 1
        return _NAMESPACES.get(name[:end], "") + name[end:].lower()

    def walk(node: Any) -> Iterator[Node]:
        if not isinstance(node.tag, str):
            yield "#comment", {}, node.text
            return
        name = short(node.tag)
        attributes = {short(key): value for key, value in node.attrib.items()}
        yield name, attributes, ""
        if node.text:
            yield _text(name, attributes, node.text)
        for child in node:
            yield from walk(child)
            if child.tail:
                yield _text(name, attributes, child.tail)

    return list(walk(html5lib.parse(page, transport_encoding="utf-8")))


def lexbor_nodes(page: bytes) -> list[Node]:
    """By lexbor, which is fast, and knows what a template holds. It decodes the bytes as UTF-8."""
    nodes: list[Node] = []
    # Nodes still to come, each with the name and the attributes of the element it is in: no recursion, for
    # pages nest deeper than Python's stack.
    root = LexborHTMLParser(page.decode("utf-8", "replace")).root
    pending: list[tuple[Any, str, dict[str, str]]] = [(root, "", {})]
    while pending:
        node, parent, around = pending.pop()
        if node.next is not None:
            pending.append((node.next, parent, around))
        if node.is_comment_node:
            nodes.append(("#comment", {}, node.comment_content or ""))
        elif node.is_text_node:
            nodes.append(_text(parent, around, node.text_content or ""))
        elif node.tag is not None and node.is_element_node:
            name = _named(node.tag.lower(), parent)
            attributes = {key: value or "" for key, value in node.attributes.items()}
            nodes.append((name, attributes, ""))
            inside = node.template_fragments() if name == "template" else [node]
            for each in reversed(inside):
                if each.child is not None:
                    pending.append((each.child, name, attributes))
    return nodes


def _text(name: str, attributes: dict[str, str], text: str) -> Node:
    return f"{name}#text", {"type": attributes.get("type", "")}, text


def _named(tag: str, parent: str) -> str:
    if tag in ("svg", "math"):
        return f"{tag} {tag}"
    namespace, _, _ = parent.rpartition(" ")
    return tag if not namespace or parent in _POINTS else f"{namespace} {tag}"
