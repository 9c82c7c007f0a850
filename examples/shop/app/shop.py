"""What every page needs: the pieces, and how a page is made of them."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop.app import basket
from examples.shop.app.catalogue import CATEGORIES, CROWD, USERS
from examples.shop.app.counts import Counts
from examples.shop.app.queries import Catalogue
from examples.shop.app.settings import Settings
from scalekit.cache import Cache
from scalekit.cdn import Assets
from scalekit.database import AsyncCluster
from scalekit.errors import NoServerAvailable, OutcomeUnknown
from scalekit.storage import Storage

T = TypeVar("T")

HERE = Path(__file__).parent
_PATIENCE = 10.0


@dataclass(frozen=True)
class User:
    key: str
    name: str


class Shop:
    """The pieces, set up once per process; views get it as ``request.app.state.shop``."""

    def __init__(
        self, settings: Settings, *, cluster: AsyncCluster, cache: Cache, storage: Storage, assets: Assets
    ) -> None:
        self.settings, self.cluster, self.cache, self.storage = settings, cluster, cache, storage
        self.catalogue = Catalogue(cache)
        self.templates = Jinja2Templates(HERE / "templates")
        self.templates.env.globals["asset"] = assets.url
        self.counts = Counts(settings, cluster)

    async def unit(
        self,
        request: Request,
        work: Callable[[AsyncSession], Awaitable[T]],
        *,
        writes: bool = False,
        **options: Any,
    ) -> T:
        """Run ``work`` in a transaction, and again if the database was lost under it.

        Only work that may run twice: reads, and writes that carry their form's token. A server that loses
        its primary has, while a replica takes over, nobody to write to; ten seconds are enough for that.
        A COMMIT of unknown outcome is repeated too: the token tells whether it had worked.

        Args:
            writes: whether the work changes something; for the figures.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                async with self.cluster.session(**options) as session:
                    result = await work(session)
                    place = self.counts.place(session)
                    replica = self.counts.is_replica(place)
                    request.state.read_from = place
                    await session.commit()
                    self.counts.add(place, replica=replica, wrote=writes)
                    return result
            except (DBAPIError, NoServerAvailable, OutcomeUnknown) as error:
                lost = not isinstance(error, DBAPIError) or error.connection_invalidated
                if not (lost or isinstance(error, IntegrityError)) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    def page(self, request: Request, name: str, *, status: int = 200, **context: Any) -> Response:
        """A page of the shop. Notes that were left for this visitor are shown, once."""
        session = request.session
        common = {
            "categories": CATEGORIES,
            "category": "",
            "users": USERS,
            "user": user_of(request),
            "cart_count": basket.count(session),
            "notes": session.pop("notes", []) if "notes" in session else [],
            "once": secrets.token_urlsafe(9),
            "server": self.settings.server,
            "fleet": bool(self.settings.replicas),
            "read_from": getattr(request.state, "read_from", ""),
        }
        return self.templates.TemplateResponse(request, name, common | context, status_code=status)


def shop_of(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


def user_of(request: Request) -> User | None:
    key = request.session.user_id
    known = USERS | CROWD
    return User(key, known[key][0]) if key in known else None


def note(
    request: Request, text: str, *, kind: str = "good", href: str = "", action: str = "", place: str = "top"
) -> None:
    """Say something on the next page: at its head, or in its section ``place``, to which it is scrolled."""
    request.session.setdefault("notes", []).append(
        {"text": text, "kind": kind, "href": href, "action": action, "place": place}
    )


def go(address: str) -> RedirectResponse:
    """Answer a form: the next page, by GET."""
    return RedirectResponse(address, status_code=303)


def to_login(request: Request) -> RedirectResponse:
    return go(f"/login?next={request.url.path}")
