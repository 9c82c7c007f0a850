"""Which other files a script asks for: ``import``, ``export from``, ``import()`` and ``new URL()``.

A lexer, no parser: it skips strings, comments, regular expressions and templates, and counts brackets. How it
tells a regular expression from a division is es-module-lexer's way: by what stands before, and for ``)`` and
``}`` by what stands before the bracket that they close.

Rules:

* Whoever cannot be read with certainty is left alone: brackets that do not match, a text without end, an
  import in a place where there is none. :class:`Doubt` says where, and such a script is served as it is.
* A specifier that begins with ``/``, ``./`` or ``../`` is a path; any other is bare, and the import map's.
* An ``import()`` of what is computed, and a worker (which has to come from the page's own host), are noted:
  such a script can only be where its page is.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["import", "dynamic", "url"]

_STRING = rb"""(?:"(?>(?:[^"\\\n\r]|\\(?:\r\n|.))*)"|'(?>(?:[^'\\\n\r]|\\(?:\r\n|.))*)')"""
_COMMENT = rb"(?://[^\n\r]*+|/\*(?>(?:[^*]|\*(?!/))*)\*/)"
_GAP = rb"(?>(?:[ \t\n\r\v\f]|\xc2\xa0|\xef\xbb\xbf|" + _COMMENT + rb")*)"
_LETTER = rb"[\w$\x80-\xff]"
_NAME = _LETTER + rb"++"
_NAMES = rb"\{(?>(?:[\s,]|" + _NAME + rb"|" + _COMMENT + rb"|" + _STRING + rb")*)\}"

# What says nothing, and then what does.
_NEXT = re.compile(
    rb"(?>(?:[^\w$\x80-\xff\"'`/(){}]++|" + _STRING + rb"|" + _COMMENT
    + rb"|(?!(?:import|export)(?!" + _LETTER + rb"))" + _NAME + rb")*)(import|export|[\"'`/(){}]|\Z)",
    re.DOTALL,
)  # fmt: skip
_TEMPLATE = re.compile(rb"(?>(?:[^`\\$]|\\.|\$(?!\{))*)(`|\$\{)", re.DOTALL)
_REGEX = re.compile(rb"/(?>(?:[^\\/\[\n\r]|\\[^\n\r]|\[(?>(?:[^\]\\\n\r]|\\[^\n\r])*)\])+)/\w*+")
_NO_CODE = re.compile(rb"(" + _STRING + rb")|" + _COMMENT, re.DOTALL)
_LAST_NAME = re.compile(_LETTER + rb"+\Z")

_IMPORT = re.compile(
    rb"import" + _GAP + rb"(?:(?:" + _NAME + _GAP + rb"(?:," + _GAP + rb")?)*"
    rb"(?:\*" + _GAP + rb"as" + _GAP + _NAME + _GAP + rb"|" + _NAMES + _GAP + rb")?from" + _GAP + rb")?"
    rb"(" + _STRING + rb")",
    re.DOTALL,
)  # fmt: skip
_EXPORT = re.compile(
    rb"export" + _GAP + rb"(?:\*" + _GAP + rb"(?:as" + _GAP + rb"(?:" + _NAME + rb"|" + _STRING + rb")" + _GAP
    + rb")?|" + _NAMES + _GAP + rb")from" + _GAP + rb"(" + _STRING + rb")",
    re.DOTALL,
)  # fmt: skip
_DYNAMIC = re.compile(
    rb"import" + _GAP + rb"(\()(?:" + _GAP + rb"(" + _STRING + rb")" + _GAP + rb"(?=[,)]))?", re.DOTALL
)
_META = re.compile(rb"import" + _GAP + rb"\." + _GAP + rb"(" + _NAME + rb")?", re.DOTALL)
_URL = re.compile(
    rb"\(" + _GAP + rb"(" + _STRING + rb")" + _GAP + rb"," + _GAP + rb"import" + _GAP + rb"\." + _GAP
    + rb"meta" + _GAP + rb"\." + _GAP + rb"url" + _GAP + rb",?" + _GAP + rb"\)",
    re.DOTALL,
)  # fmt: skip
_BLOCK_FOLLOWS = re.compile(_GAP + rb"\{", re.DOTALL)
_NEW_URL = re.compile(rb"(?<![\w$.])new\s+URL\s*\Z")
_WORKER = re.compile(rb"Worker\s*\(|importScripts\s*\(")
_LINE_ENDS = (b"\xe2\x80\xa8", b"\xe2\x80\xa9")  # which end a comment, too

_BEFORE_REGEX = frozenset(b"!%&(*+,-.:;<=>?[^{|~")
_KEYWORDS = frozenset(
    b"await case delete do else in instanceof new of return throw typeof void yield extends default".split()
)
_BLOCKS = frozenset(b"else do try finally catch".split())
_CONDITIONS = frozenset(b"if while for with".split())


class Doubt(Exception):
    """The script cannot be read with certainty; ``at`` is where that shows, in bytes."""

    def __init__(self, why: str, at: int) -> None:
        self.why, self.at = why, at
        super().__init__(f"{why} at byte {at}")


@dataclass(frozen=True, slots=True)
class Specifier:
    """What a script asks for: the bytes from ``start`` to ``stop``, without their quotes."""

    start: int
    stop: int
    kind: Kind


@dataclass(slots=True)
class Script:
    """What is known of a script.

    Args:
        specifiers: what it asks for, in the order of the source.
        bound: whether it can only be where its page is: it asks for what is computed, or starts a worker.
    """

    specifiers: list[Specifier] = field(default_factory=list)
    bound: bool = False


def read(source: bytes) -> Script:
    """What ``source`` asks for.

    Raises:
        Doubt: it cannot be told with certainty.
    """
    script = Script(bound=_WORKER.search(source) is not None)
    if b"import" not in source and (b"export" not in source or b"from" not in source):
        return script  # most need no closer look
    for odd in (b"\0", *_LINE_ENDS):
        if odd in source:
            raise Doubt("an unusual character", source.index(odd))
    _Lexer(source, script).run()
    return script


class _Lexer:
    """One pass over a script.

    The stack has an item for each open bracket: its kind, where it stands, and where the run began before it.
    """

    def __init__(self, source: bytes, script: Script) -> None:
        self.source, self.script = source, script
        self.stack: list[tuple[bytes, int, int]] = []
        self.start = 0  # of the run of what says nothing
        self.closed: tuple[bytes, int, int] | None = None  # the bracket that was closed last
        self.division = -1  # where the last one stands

    def run(self) -> None:
        source, stack, following = self.source, self.stack, _NEXT.match
        position = 0 if not source.startswith(b"#!") else source.find(b"\n") + 1 or len(source)
        while True:
            self.start = position
            found = following(source, position)
            assert found is not None  # it can match nothing, and then any character that says something
            token, at = found[1], found.start(1)
            position = found.end()
            if token == b"(" or token == b"{":
                stack.append((token, at, self.start))
            elif token == b")" or token == b"}":
                position = self._close(token, at, position)
            elif token == b"/":
                position = self._slash(at)
            elif token == b"`":
                stack.append((token, at, at))
                position = self._template(position)
            elif token == b"import":
                position = self._import(at)
            elif token == b"export":
                position = self._export(at)
            elif token == b"":
                if stack:
                    raise Doubt("a bracket without end", stack[-1][1])
                return
            else:
                raise Doubt("a string without end", at)

    def _before(self, at: int, start: int) -> bytes:
        """The last name or character of the run from ``start`` to ``at``, with a dot if it is one behind it.

        Without any it is the character before the run.
        """
        run = self.source[start:at]
        if b"//" in run or b"/*" in run:
            run = _NO_CODE.sub(lambda match: match[1] or b" ", run)
        run = run.rstrip(b" \t\n\r\v\f\xa0")
        if not run:
            return self.source[max(start - 1, 0) : start]
        if name := _LAST_NAME.search(run):
            front = run[: name.start()].rstrip()
            dotted = front.endswith((b".", b"#")) and not front.endswith(b"..")
            return b"." + name[0] if dotted else name[0]
        pair = run[-2:]
        whole = pair in (b"=>", b"++", b"--") or (pair[:1].isdigit() and pair[1:] == b".")
        return pair if whole else run[-1:]

    def _close(self, token: bytes, at: int, position: int) -> int:
        if not self.stack:
            raise Doubt("a bracket without beginning", at)
        self.closed = opened = self.stack.pop()
        if token == b"}" and opened[0] == b"${":
            return self._template(position)
        if opened[0] not in (b"{" if token == b"}" else (b"(", b"import(")):
            raise Doubt("another bracket than was opened", at)
        # With a block behind it, it is a method of that name.
        if opened[0] == b"import(" and _BLOCK_FOLLOWS.match(self.source, position) is None:
            self.script.bound = True
        return position

    def _template(self, position: int) -> int:
        """From inside of a template to its end, or to the beginning of an expression in it."""
        found = _TEMPLATE.match(self.source, position)
        if found is None:
            raise Doubt("a template without end", position)
        if found[1] == b"`":
            self.stack.pop()
        else:
            self.stack.append((b"${", found.start(1), found.start(1)))
        return found.end()

    def _slash(self, at: int) -> int:
        if not self._is_regex(at):
            self.division = at
            return at + 1
        found = _REGEX.match(self.source, at)
        if found is None:
            raise Doubt("a regular expression without end", at)
        return found.end()

    def _is_regex(self, at: int) -> bool:
        before = self._before(at, self.start)
        last = before[-1:]
        if before in (b"++", b"--"):
            return False
        if before == b"":
            return True
        if last == b")":
            return self._before_closed(at) in _CONDITIONS
        if last == b"}":
            return self._ends_block(self._before_closed(at), at)
        if before == b"=>" or (before[0] in _BEFORE_REGEX and len(before) == 1):
            return True
        if last == b"/":
            return self.division == self.start - 1  # else it is the end of a regular expression
        return before in _KEYWORDS

    def _before_closed(self, at: int) -> bytes:
        """What stands before the brackets that were closed just before ``at``."""
        assert self.closed is not None  # nothing else ends in a bracket
        _, opening, start = self.closed
        return self._before(opening, start)

    def _ends_block(self, before: bytes, at: int) -> bool:
        if before in (b"=>", b";", b")") or before in _BLOCKS:
            return True
        if before in (b"(", b",", b"=", b"?", b"[", b"&", b"|", b"+") or before == b"return":
            return False
        # Behind a colon it is an object, or the block of a label or of a case.
        raise Doubt("a slash behind what may be a block or an object", at)

    # Imports.

    def _import(self, at: int) -> int:
        end = at + len(b"import")
        if self._is_member(at):
            return end
        if dynamic := _DYNAMIC.match(self.source, at):
            if dynamic[2] is not None:
                self._add(dynamic, "dynamic", group=2)
            # Closed by _close: with no block behind it, it asks for what is computed.
            self.stack.append((b"(" if dynamic[2] else b"import(", dynamic.start(1), at))
            return dynamic.end()
        if meta := _META.match(self.source, at):
            if meta[1] != b"meta":
                raise Doubt("an unusual import", at)
            self._url(at)
            return end
        static = _IMPORT.match(self.source, at)
        if static is not None and not self.stack:
            self._add(static, "import")
            return static.end()
        if static is not None or not self.stack:
            raise Doubt("an import in an unusual place", at)
        return end

    def _export(self, at: int) -> int:
        end = at + len(b"export")
        found = _EXPORT.match(self.source, at)
        if found is None or self._is_member(at):
            return end
        if self.stack:
            raise Doubt("an export in an unusual place", at)
        self._add(found, "import")
        return found.end()

    def _url(self, at: int) -> None:
        """Note ``new URL("...", import.meta.url)``, whose ``import`` is ``at``."""
        if not self.stack or self.stack[-1][0] != b"(":
            return
        opening = self.stack[-1][1]
        found = _URL.match(self.source, opening)
        if (
            found is not None
            and found.end() > at
            and _NEW_URL.search(self.source, max(0, opening - 40), opening)
        ):
            self._add(found, "url")

    def _is_member(self, at: int) -> bool:
        """Whether the name at ``at`` is one behind a dot: ``x.import``, ``this.#export``."""
        before = self._before(at, self.start)
        return before in (b".", b"#") and not self._before_is_spread(at)

    def _before_is_spread(self, at: int) -> bool:
        return self.source[max(self.start, at - 80) : at].rstrip().endswith(b"...")

    def _add(self, found: re.Match[bytes], kind: Kind, *, group: int = 1) -> None:
        self.script.specifiers.append(Specifier(found.start(group) + 1, found.end(group) - 1, kind))
