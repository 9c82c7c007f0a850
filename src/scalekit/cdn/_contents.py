"""The text of an element that holds asset URLs: a style sheet, an import map."""

from collections.abc import Callable, Iterator

from scalekit.cdn import _entities, _import_maps, _styles
from scalekit.cdn._syntax import attributes_of
from scalekit.cdn._targets import Change, Targets
from scalekit.cdn._tokenizer import Edit, Editor
from scalekit.cdn._written import Written


def content_editor(name: bytes, tag: bytes, targets: Targets, charset: str) -> Editor | None:
    """What edits the text after a start tag; ``None`` when nothing in it may change.

    Args:
        name: the tag's name, lower-case.
        tag: the whole start tag.
        targets: what the page's URLs mean.
        charset: the page's encoding.
    """
    kind = _entities.decode(attributes_of(tag, 1 + len(name), len(tag)).get(b"type", b"").decode("latin-1"))
    changes: Callable[[str, Targets], Iterator[Change]]
    if name == b"style" and kind.lower() in ("", "text/css"):
        changes = _styles.changes
    elif name == b"script" and kind.strip().lower() == "importmap":
        changes = _import_maps.changes
    else:
        return None

    def edits(text: bytes) -> Iterator[Edit]:
        needle = targets.needle
        if needle is None or needle in text:
            written = Written(text, charset, references=False)
            yield from written.edits(changes(written.value, targets))

    return edits
