"""Where an application runs, which it does not tell."""

from dataclasses import dataclass

_ASKING = 3.0  # seconds for one answer, of which there are a few behind each other


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """What an application does not tell of where it runs; what is ``None`` is not looked at.

    Args:
        servers: how many there are at the most.
        command: starts one, such as ``"uvicorn shop:app --timeout-keep-alive 75"``.
        idle_timeout: seconds for which the balancer keeps idle connections.
        slowest: seconds that the slowest request takes.
        killed_after: seconds that the platform waits, after it told a server to stop, before it kills.
        url: of a page of the running site.
        origin: an address of the servers behind the CDN.
        timeout: seconds for everything that is asked, 15 by default.
    """

    servers: int | None = None
    command: str | None = None
    idle_timeout: float | None = None
    slowest: float | None = None
    killed_after: float | None = None
    url: str | None = None
    origin: str | None = None
    timeout: float = 15.0

    @property
    def patience(self) -> float:
        """Seconds for one answer."""
        return min(_ASKING, self.timeout / 3)
