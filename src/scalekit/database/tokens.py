"""The token that says what "fresh" means for one visitor.

Rules:

* A token names a place in the history of one system by marks: from each origin of changes, how far.
  An origin is whatever numbers its changes by itself: a timeline of PostgreSQL, a server of MariaDB or
  MySQL. Numbers of two origins are never compared, so that another timeline is no answer, never a yes.
* Origins named ``line:server`` take turns: what one of them commits comes after all that is in its history
  from the others of the line.
* Tokens only move forward. What was committed in an earlier epoch is in the history of the later one, or
  lost: the later epoch wins. Within one, the higher number of each origin does.
* What a browser sends is believed after its signature and its expiry were checked, and read only up
  to a length that a token can have.
"""

import hmac
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from scalekit._durations import Duration
from scalekit._signing import macs
from scalekit.database.levels import positive
from scalekit.types import SecretKey

_SALT = "scalekit.database"
_VERSION = "2"
# Eight marks of a UUID, a tag of 32 letters and 16 digits, the system, expiry, epoch, and an HMAC-SHA256 in
# base64.
_LONGEST = 832
_MOST_MARKS = 8

UNKNOWN = "-"
"""An origin that nobody has anything from: a visitor whose position is not known reads from the primary."""


@dataclass(frozen=True, slots=True)
class Token:
    """A place in a database's history.

    Args:
        system: which family of servers; ``"pg:"`` and the system identifier, for example.
        epoch: counts promotions, PostgreSQL's timeline; 0 where servers count none.
        marks: pairs of an origin and how far, in the order of the origins.
    """

    system: str
    epoch: int
    marks: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, system: str, epoch: int, marks: Mapping[str, int]) -> "Token":
        """The place of these ``marks``; of more than a token can carry, a place that is not known."""
        if len(marks) > _MOST_MARKS:
            # Longer than a cookie should be. None may be forgotten, so the primary it is.
            return cls.unknown(system, epoch)
        return cls(system, epoch, tuple(sorted(marks.items())))

    @classmethod
    def unknown(cls, system: str, epoch: int) -> "Token":
        """Past everything that any server is known to have."""
        return cls(system, epoch, ((UNKNOWN, 0),))

    @property
    def is_known(self) -> bool:
        """Whether a replica can have what this stands for, as far as anybody can tell."""
        return all(origin != UNKNOWN for origin, _ in self.marks)

    def same_history(self, other: "Token") -> bool:
        """Whether both are in one epoch of one system."""
        return (self.system, self.epoch) == (other.system, other.epoch)

    def includes(self, other: "Token") -> bool:
        """Whether whoever has this has ``other``."""
        return self.same_history(other) and _includes(dict(self.marks), other.marks)

    def merge(self, other: "Token") -> "Token":
        """A token for both, ``other`` being the one that came later.

        Always another object, unless one of the two is all that counts: who kept the old one can tell that
        something was added, even if it was nothing new.
        """
        if self.system != other.system or self.epoch < other.epoch:
            return other
        if self.epoch > other.epoch:
            return self
        if len(self.marks) == 1 == len(other.marks):
            # As on PostgreSQL nearly always: one of the two is all that counts.
            (mine, number), (origin, later) = self.marks[0], other.marks[0]
            if mine == origin != UNKNOWN:
                return self if number > later else other
        marks = dict(self.marks)
        for origin, number in other.marks:
            marks[origin] = max(number, marks.get(origin, number))
        return Token.of(self.system, self.epoch, marks)

    def followed_by(self, later: "Token", *, keeping: Set[str] = frozenset()) -> "Token":
        """The token after a commit, in the same history, of a transaction that began after this one.

        Where this one's changes are has become known by it, if it was not. Of the same line they are in its
        history, or lost.

        Args:
            later: the token of that commit.
            keeping: origins of which it does not tell that, because their changes came meanwhile.
        """
        keeping = keeping | {origin for origin, _ in later.marks}
        lines = {_line(origin) for origin, _ in later.marks}
        marks = {
            origin: number
            for origin, number in self.marks
            if origin in keeping or (origin != UNKNOWN and _line(origin) not in lines)
        }
        return Token.of(self.system, self.epoch, marks).merge(later)

    def position(self) -> str:
        """This as text, which says what it is and is not signed."""
        marks = [text for origin, number in self.marks for text in (_quoted(origin), f"{number:x}")]
        return ".".join((_quoted(self.system), f"{self.epoch:x}", *marks))

    @classmethod
    def at(cls, position: str) -> "Token":
        """The token that :meth:`position` has made a text of.

        Raises:
            ValueError: it has not.
        """
        system, epoch, *marks = position.split(".")
        pairs = zip(marks[::2], marks[1::2], strict=True)
        places = tuple((unquote(origin), int(number, 16)) for origin, number in pairs)
        return cls(unquote(system), int(epoch, 16), places)

    def __str__(self) -> str:
        return f"{self.system} {' '.join(f'{origin}:{number}' for origin, number in self.marks)}"


def _line(origin: str) -> str:
    return origin.partition(":")[0]


def _includes(marks: Mapping[str, int], wanted: Iterable[tuple[str, int]]) -> bool:
    # Asked for each replica at each read, and a loop takes half the time of all().
    for origin, number in wanted:  # noqa: SIM110
        if marks.get(origin, -1) < number:
            return False
    return True


def latest(first: Token | None, second: Token | None) -> Token | None:
    """The later of two tokens; ``second`` when they belong to different systems."""
    if first is None or second is None:
        return first or second
    return first.merge(second)


def check_token(token: object) -> None:
    """Refuse what is no :class:`Token`, such as the text that one was signed as.

    Raises:
        TypeError: it is neither one nor ``None``.
    """
    if token is not None and not isinstance(token, Token):
        raise TypeError(
            f"a scope takes a Token, not {type(token).__name__}; read one by TokenSigner.loads(text)"
        )


@dataclass(frozen=True, slots=True)
class Reached:
    """What one server has: a lower bound.

    Args:
        system: as in :class:`Token`.
        marks: from each origin how far. After a promotion the new timeline's, and with it the old one's up
            to where they part, if that is known.
        seen: how far it may have shown something, where that can be further than it has everything;
            ``None``: no further.
    """

    system: str = ""
    marks: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, int] | None = None

    def covers(self, token: Token) -> bool:
        """Whether the server has everything that ``token`` stands for."""
        return self.system == token.system and _includes(self.marks, token.marks)

    @property
    def furthest(self) -> "Reached":
        """The most that it can have: no lower bound any more, but the better estimate."""
        return self if self.seen is None else Reached(self.system, self.seen)

    def token(self, epoch: int) -> Token:
        """A promise of all of this, to somebody who has seen it, in ``epoch``."""
        return Token.of(self.system, epoch, self.furthest.marks)


def covers(reached: Reached, position: str | None) -> bool:
    """Whether a server that has ``reached`` has everything up to ``position``, if that is known.

    One that is no position of ours is not known.
    """
    if position is None:
        return False
    try:
        return reached.covers(Token.at(position))
    except ValueError:
        return False


class TokenSigner:
    """Tokens as text that a visitor can carry and not change.

    Args:
        secret_key: one secret or a key ring, oldest first; at least 16 bytes each.
        max_age: how long a token counts, in seconds or as a ``timedelta``; ten minutes by default. Longer
            than any lag that the cluster tolerates (``max_lag``), or the promise ends before the lag does.

    Raises:
        ConfigurationError: a key is too short, or ``max_age`` is not positive.
    """

    def __init__(self, secret_key: SecretKey, *, max_age: Duration = 600) -> None:
        self._macs = macs(secret_key, salt=_SALT)
        self.max_age = positive(max_age, name="max_age")

    def dumps(self, token: Token) -> str:
        """``token`` as text for a cookie or a header; it expires ``max_age`` from now.

        One that would be too long becomes that of a place which is not known.

        Raises:
            TypeError: it is no token, as that of a scope in which nothing was written.
        """
        if token is None:
            raise TypeError(
                "TokenSigner.dumps() was given None: a scope has no token before something was written in "
                "it, and none on one server; sign it `if scope.token is not None`"
            )
        expires = int(time.time() + self.max_age)
        text = f"{_VERSION}.{expires:x}.{token.position()}"
        signed = f"{text}.{self._macs[0](text.encode('ascii')).decode('ascii')}"
        unknown = Token.unknown(token.system, token.epoch)
        if len(signed) > _LONGEST and token != unknown:
            # It would be ignored when it comes back, and its visitor might see less than they wrote.
            return self.dumps(unknown)
        return signed

    def loads(self, text: str) -> Token | None:
        """The token in ``text``, or ``None`` when it is forged, expired or malformed.

        Raises:
            TypeError: it is no text, as where there was none to pass on.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"TokenSigner.loads() takes the text that dumps() made, not {type(text).__name__}; where "
                "there is none, scope() takes None in place of a token"
            )
        signed = self.read(text)
        return signed[0] if signed is not None and time.time() < signed[1] else None

    def read(self, text: str) -> tuple[Token, float] | None:
        """The token in ``text`` and when it expires, in seconds since 1970; ``None`` if it is not ours.

        One that counts for longer than ``max_age`` is from a server whose clock is ahead, or was configured
        otherwise: it is believed, since to ignore it could show its visitor less than they wrote.
        """
        if len(text) > _LONGEST or not text.isascii():
            return None
        signed, _, signature = text.encode("ascii").rpartition(b".")
        if not any(hmac.compare_digest(mac(signed), signature) for mac in self._macs):
            return None
        version, _, fields = signed.decode("ascii").partition(".")
        # From here on the text is our own, though perhaps another version's.
        if version != _VERSION:
            return None
        expires, _, position = fields.partition(".")
        return Token.at(position), float(int(expires, 16))


def _quoted(name: str) -> str:
    return quote(name, safe=":").replace(".", "%2E")
