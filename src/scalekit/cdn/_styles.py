"""The styles that stand in a page: in ``style`` attributes and in ``<style>`` elements."""

from collections.abc import Iterator

from scalekit.cdn import css
from scalekit.cdn._tags import in_style
from scalekit.cdn._targets import Change, Targets
from scalekit.cdn._urls import split


def changes(style: str, targets: Targets) -> Iterator[Change]:
    """The changes to the ``url()`` and ``@import`` of a style."""
    # One byte a character: letters beyond ASCII are all the same to the grammar.
    for begin, stop in css.spans(style.encode("ascii", "replace")):
        source = style[begin:stop]
        url = css.unescape(source)
        asset = targets.find(url)
        if asset is not None and in_style(asset, "#" in split(url)[1], targets.assets.cdn):
            yield from targets.change_escaped(targets.url(asset), url, source, begin)
