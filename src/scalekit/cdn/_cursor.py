"""Finding the end of a tag that arrives in pieces.

The tokenizer states 13.2.5.8 and 13.2.5.32 to 13.2.5.40, reduced to the question where the tag ends. Each
state consumes a run of bytes and then one byte that says which state follows; ``>`` ends the tag in every
state but inside quotes.
"""

import re

_TAG_NAME, _BEFORE_NAME, _NAME, _AFTER_NAME, _BEFORE_VALUE, _DOUBLE, _SINGLE, _UNQUOTED = range(8)
_EQUALS, _SLASH, _QUOTE, _APOSTROPHE, _CLOSE = b"=/\"'>"

# For each state: its run, the bytes with a state of their own, the state after any other byte.
_STATES: list[tuple[re.Pattern[bytes], dict[int, int], int]] = [
    (re.compile(rb"[^ \t\n\f\r/>]*+"), {}, _BEFORE_NAME),
    (re.compile(rb"[ \t\n\f\r]*+"), {_SLASH: _BEFORE_NAME}, _NAME),
    (re.compile(rb"[^ \t\n\f\r/>=]*+"), {_EQUALS: _BEFORE_VALUE, _SLASH: _BEFORE_NAME}, _AFTER_NAME),
    (re.compile(rb"[ \t\n\f\r]*+"), {_EQUALS: _BEFORE_VALUE, _SLASH: _BEFORE_NAME}, _NAME),
    (re.compile(rb"[ \t\n\f\r]*+"), {_QUOTE: _DOUBLE, _APOSTROPHE: _SINGLE}, _UNQUOTED),
    (re.compile(rb'[^"]*+'), {}, _BEFORE_NAME),
    (re.compile(rb"[^']*+"), {}, _BEFORE_NAME),
    (re.compile(rb"[^ \t\n\f\r>]*+"), {}, _BEFORE_NAME),
]


class TagCursor:
    """Reads one tag, each of its bytes once, in as many pieces as it comes.

    ``self_closing`` tells, once the end was found, whether the tag ends in ``/>``; a slash that belongs to
    an unquoted value does not count.
    """

    __slots__ = ("_state", "self_closing")

    def __init__(self) -> None:
        self._state = _TAG_NAME
        self.self_closing = False

    def find_end(self, data: bytes, position: int) -> int:
        """The position after the tag's ``>``; -1 when ``data`` ends first, to be called again with the rest.

        The first call starts at or after the tag name's first letter.
        """
        state, size = self._state, len(data)
        while True:
            run, exits, otherwise = _STATES[state]
            match = run.match(data, position)
            assert match is not None  # every run may be empty
            if match.end() > position:
                position, self.self_closing = match.end(), False
            if position == size:
                self._state = state
                return -1
            byte = data[position]
            position += 1
            if byte == _CLOSE and state not in (_DOUBLE, _SINGLE):
                return position
            state = exits.get(byte, otherwise)
            self.self_closing = byte == _SLASH and state == _BEFORE_NAME
