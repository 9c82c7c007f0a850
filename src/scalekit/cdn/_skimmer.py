"""Reading the most of a page without tokenizing it.

:meth:`Skimmer._skim` jumps from asset URL to asset URL on these grounds: in a stretch of markup that starts
in the data state, has no comment, no tag that switches the tokenizer's state, and no angle bracket hidden in
quotes, the first ``>`` after a tag's beginning is its end, and whatever follows a ``>`` is in the data state
again. Where that is in doubt, the tokenizer takes over, token by token, until past the doubt.
"""

from collections.abc import Mapping

from scalekit.cdn._foreign import HTML
from scalekit.cdn._syntax import (
    FETCHING_TAG,
    HEAD_SPECIAL,
    HIDDEN_BRACKET,
    PLAIN_SOURCE,
    SPECIAL,
    STYLE_URL,
    TAG_NAME,
)
from scalekit.cdn._targets import Targets
from scalekit.cdn._tokenizer import STARVED, Tokenizer


class Skimmer(Tokenizer):
    """A tokenizer that skips what cannot change.

    Args:
        targets: what the page's URLs mean.
    """

    def __init__(self, targets: Targets) -> None:
        super().__init__()
        self._targets = targets
        self._links: Mapping[bytes, bytes] = targets.assets.links
        self._aim()
        self._special = self._hidden = self._clear = -1

    def _aim(self) -> None:
        """Take note of what relative URLs resolve against now."""
        self._needle = self._targets.needle
        self._directory = (self._targets.base.directory or "").encode()
        if not self._directory:
            self._links = {}

    def _run(self, data: bytes, sent: int) -> bytes:
        # The next of each in data, once searched for; no hidden bracket opens before _clear.
        self._special = self._hidden = self._clear = -1
        return super()._run(data, sent)

    def _data(self, data: bytes, position: int) -> int:
        size = len(data)
        while position < size:
            stop = position
            if not self._foreign:
                position, stop = self._skim(data, position)
            while position <= stop and position < size:
                position = self._step(data, position)
                if self._mode is not None or position == STARVED:
                    return position
        return self._starve(size, size)

    def _skim(self, data: bytes, position: int) -> tuple[int, int]:
        """Rewrite what is beyond doubt; the answer is from where to step, and past where."""
        size = len(data)
        if self._special < position:
            special = (SPECIAL if self._head.over else HEAD_SPECIAL).search(data, position)
            self._special = special.start() if special else size
        stop = self._special
        if self._hidden < position and self._clear < stop:
            # One more: the "<" at `stop` may itself be what the quotes hide.
            hidden = HIDDEN_BRACKET.search(data, position, stop + 1)
            self._hidden, self._clear = (hidden.start(), -1) if hidden else (-1, stop)
        if position <= self._hidden:
            stop = min(stop, self._hidden)
        if self._needle is None:
            return self._search(data, position, stop)
        return self._jump(data, position, stop, self._needle)

    def _jump(self, data: bytes, position: int, stop: int, needle: bytes) -> tuple[int, int]:
        """From needle to needle."""
        find, rfind, links, directory = data.find, data.rfind, self._links, self._directory
        link = self._targets.link
        put, cut, count = self._out.append, self._cut, 0
        hit, doubt = find(needle, position, stop), -1
        while hit >= 0:
            outside = rfind(b">", position, hit) + 1 or position
            opening = find(b"<", outside, hit)
            if opening < 0:  # in text
                position = hit
                hit = find(needle, hit + 1, stop)
                continue
            end = find(b">", hit) + 1
            if not 0 < end <= stop:
                position, doubt = opening, hit if end else len(data)
                break
            # A tag of the most usual shape is done in few steps.
            start = rfind(b'"', opening, hit) + 1
            quote = find(b'"', hit, end)
            source = data[start:quote] if start and quote > 0 else b""
            new = links.get(source) or links.get(directory + source) or link(source)
            following = find(needle, quote, stop)
            if (
                new is not None
                and (following >= end or following < 0)
                and (data[opening:start] == b'<img src="' or PLAIN_SOURCE.fullmatch(data, opening, start))
                # To find the dash costs least, and most tags have none.
                and (find(b"-", opening, end) < 0 or b"use-credentials" not in data[opening:end].lower())
            ):
                if new != source:
                    put(data[cut:start])
                    put(new)
                    cut = quote
                    count += 1
            else:
                self._cut = cut
                if not self._rewrite_any(data, opening, end):
                    position, doubt = opening, hit
                    break
                cut = self._cut
                following = find(needle, end, stop)
            position, hit = end, following
        self._cut = cut
        self.count += count
        if doubt >= 0:
            return position, doubt
        return rfind(b">", position, stop) + 1 or position, stop

    def _search(self, data: bytes, position: int, stop: int) -> tuple[int, int]:
        """From tag to tag, where any value may be an asset's URL; and from style to style."""
        size = len(data)
        style = -1
        while position < stop:
            if style < position:
                # No further than `stop`: behind it, the next call would look at all that once more.
                url = STYLE_URL.search(data, position, stop)
                style = url.start() if url else size
            tag = FETCHING_TAG.search(data, position, min(stop, style))
            if tag is None and style >= stop:
                break
            hit = tag.start() if tag else style
            # What looks like a tag may stand in another, without quotes.
            outside = data.rfind(b">", position, hit) + 1 or position
            opening = data.find(b"<", outside, hit + 1)
            if opening < 0:  # in text
                position = hit + 1
                continue
            end = data.find(b">", hit) + 1
            if not 0 < end <= stop:
                return opening, hit if end else size
            if not (self._rewrite_bare(data, opening, end) or self._rewrite_any(data, opening, end)):
                return opening, hit
            position = end
        return data.rfind(b">", position, stop) + 1 or position, stop

    def _rewrite_bare(self, data: bytes, opening: int, end: int) -> bool:
        """Rewrite a tag of the most usual shape in few steps; false when it is of another."""
        if data.startswith(b'<img src="', opening):
            start = opening + 10
        elif plain := PLAIN_SOURCE.match(data, opening, end):
            start = plain.end()
        else:
            return False
        quote = data.find(b'"', start, end)
        source = data[start:quote] if quote > 0 else b""
        new = self._links.get(self._directory + source) or self._targets.link(source)
        tag = data[opening:end].lower()
        if new is None or b"srcset" in tag or b"style" in tag or b"poster" in tag or b"-credentials" in tag:
            return False
        if new != source:
            self._edit(data, start, quote, new)
        return True

    def _rewrite_any(self, data: bytes, opening: int, end: int) -> bool:
        """Rewrite a tag of any shape; false when it is none."""
        tag = TAG_NAME.match(data, opening)
        if tag is None:
            return False
        if not tag[1]:
            self._start_tag(data, opening, end, tag[2].lower(), HTML)
        return True
