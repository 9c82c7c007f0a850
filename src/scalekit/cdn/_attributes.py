"""What becomes of one tag: the edits of its attributes."""

import re
from collections.abc import Iterator

from scalekit.cdn import _entities, _styles, srcset
from scalekit.cdn._additions import Additions
from scalekit.cdn._asset import Asset
from scalekit.cdn._syntax import ATTRIBUTE, value_of
from scalekit.cdn._tags import CONDITIONS, LISTS, is_module, is_movable, may_move
from scalekit.cdn._targets import Change, Targets
from scalekit.cdn._tokenizer import Edit
from scalekit.cdn._written import Written

_ONE_BY_ONE = frozenset({b"embed", b"object"})
_GROWING = _ONE_BY_ONE | {b"link", b"script"}
_ADDED_BEHIND = frozenset({b"href", b"src"})


class AttributeRewriter:
    """Finds the asset URLs of single tags of one page.

    Args:
        targets: what the page's URLs mean.
        charset: how text beyond ASCII is encoded in the page.
        additions: what rewritten tags get in addition; ``None`` for nothing.
    """

    def __init__(self, targets: Targets, charset: str, additions: Additions | None) -> None:
        self._targets, self._charset, self._additions = targets, charset, additions
        # Tags for which it is not enough to know an asset's URL.
        self._singular = _ONE_BY_ONE if additions is None else _GROWING

    def edits(
        self, name: bytes, wanted: frozenset[bytes], page: bytes, start: int, stop: int
    ) -> Iterator[Edit]:
        """The changes to one tag.

        Args:
            name: the tag's name, lower-case.
            wanted: its attributes of interest.
            page: where it stands.
            start: the end of its name.
            stop: the end of the tag.
        """
        first: dict[bytes, re.Match[bytes]] = {}
        for match in ATTRIBUTE.finditer(page, start, stop):
            attribute = match[1]
            if attribute in wanted or (attribute := attribute.lower()) in wanted:
                first.setdefault(attribute, match)
        assets = self._targets.assets

        def keyword(key: bytes) -> str | None:
            return _keyword(first.get(key))

        moves = may_move(name, keyword, assets.cdn)
        module = name in _GROWING and is_module(name, keyword)
        verbatim = b"integrity" in first
        direct = self._targets.base.directory is not None and not (
            verbatim or module or name in self._singular
        )
        needle = self._targets.needle
        for attribute, match in first.items():
            group = match.lastindex or 1
            if group == 1 or attribute in CONDITIONS or not (moves or attribute == b"style"):
                continue
            source = match[group]
            if needle is not None and needle not in source:
                continue
            begin, end = match.span(group)
            if direct and (new := self._targets.link(source)) is not None:
                if new != source:
                    yield begin, end, new
                continue
            written = Written(source, self._charset, references=True)
            if "\0" in written.value:  # which a browser takes for U+FFFD
                continue
            if attribute == b"style":
                changes = _styles.changes(written.value, self._targets)
            else:
                changes = self._changes(name, attribute, written.value, verbatim=verbatim, module=module)
            for edit_begin, edit_end, new in written.edits(changes):
                if new != source[edit_begin:edit_end]:
                    yield begin + edit_begin, begin + edit_end, new
            if self._additions is not None and attribute in _ADDED_BEHIND:
                asset = self._asset(name, written.value, verbatim=verbatim, module=module)
                if asset is not None and (added := self._additions.to(name, keyword, asset, assets.cdn)):
                    yield match.end(), match.end(), added

    def base_href(self, page: bytes, start: int, stop: int) -> str | None:
        """The ``href`` of a ``<base>``, or ``None``."""
        for match in ATTRIBUTE.finditer(page, start, stop):
            if match[1].lower() == b"href":
                return _entities.decode(value_of(match).decode(self._charset, "replace"))
        return None

    def _changes(
        self, name: bytes, attribute: bytes, value: str, *, verbatim: bool, module: bool
    ) -> Iterator[Change]:
        for begin, end in srcset.urls(value) if attribute in LISTS else [(0, len(value))]:
            url = value[begin:end]
            if self._targets.find(url) is None:
                continue
            asset = self._asset(name, url, verbatim=verbatim, module=module)
            new = self._targets.path(url) if asset is None else self._targets.url(asset)
            if new is not None:
                yield self._targets.change(new, url, begin)

    def _asset(self, name: bytes, url: str, *, verbatim: bool, module: bool) -> Asset | None:
        """The asset whose own URL such a tag may have in place of ``url``."""
        asset = self._targets.find(url)
        if asset is None or (module and asset.name not in self._targets.modules):
            return None
        if verbatim and not asset.verbatim and not self._targets.is_hashed(asset, url):
            return None
        return asset if is_movable(name, asset, self._targets.assets.cdn) else None


def _keyword(attribute: re.Match[bytes] | None) -> str | None:
    return None if attribute is None else _entities.decode(value_of(attribute).decode("latin-1")).lower()
