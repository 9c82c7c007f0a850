"""How long a link waits for its servers, and with how many connections."""

from dataclasses import dataclass
from typing import Self

from scalekit._breaker import Breaker
from scalekit._options import SECONDS, check_kind
from scalekit.errors import ConfigurationError

# Seconds; a server that is slow to connect to, for a while or over TLS, is to be reached in the end.
_CONNECTING = 1.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds and connections; see ``from_url`` of the links for what each means.

    Args:
        max_connections: ``None`` leaves their number to the client.
        spare_callers: no caller is the circuit breaker's probe.
    """

    timeout: float
    connect_timeout: float
    max_connections: int | None = None
    cooldown: float = 1.0
    spare_callers: bool = False

    def checked(self) -> Self:
        """These, if a link can go by them.

        Raises:
            ConfigurationError: a time is none above 0, or there is no connection.
        """
        for what in ("timeout", "connect_timeout", "cooldown"):
            value = getattr(self, what)
            check_kind(value, int | float, option=f"{what}=", wanted=SECONDS)
            if not value > 0:
                raise ConfigurationError(f"{what}={value!r}: give a number of seconds above 0")
        check_kind(self.max_connections, int, option="max_connections=", wanted="a whole number, such as 32")
        if self.max_connections is not None and self.max_connections < 1:
            raise ConfigurationError(f"max_connections={self.max_connections!r}: at least 1 is needed")
        return self

    @property
    def connecting(self) -> float:
        """Seconds that connecting may take, however long callers wait for it."""
        return max(self.connect_timeout, _CONNECTING) if self.spare_callers else self.connect_timeout

    def breaker(self) -> Breaker:
        """A circuit breaker for one server."""
        return Breaker(
            cooldown=self.cooldown,
            patience=self.timeout + self.connecting,
            first=self.cooldown / 8 if self.spare_callers else None,
        )
