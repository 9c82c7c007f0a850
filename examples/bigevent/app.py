"""The shop: ``python -m examples.bigevent.app PORT``, configured by ``settings.py``.

Answers are JSON, but for the front page. Every request that writes may be sent twice: it carries a token or
a version of the visitor's own.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException

from examples.bigevent.models import Order, Photo, Profile, Review
from examples.bigevent.pieces import Pieces
from examples.bigevent.settings import PRODUCTS, Settings
from scalekit.database import STRONG
from scalekit.errors import BackendError, NoServerAvailable, OutcomeUnknown
from scalekit.storage import MiB
from scalekit.storage.forms import stream_form
from scalekit.storage.serve import StorageFiles

_PAGE = """<!doctype html><html lang="en" data-release="{release}"><head><title>Sill &amp; Stem</title>
<link rel="stylesheet" href="{site}"><script src="{shop}" defer></script></head>
<body data-user="{user}"><img src="{logo}" alt="">{products}</body></html>"""

_ITEM = "cart:"  # one key a piece: two servers that put two things in at one moment both keep theirs


def create_app(settings: Settings) -> FastAPI:
    pieces = Pieces(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await pieces.open()
        yield
        await pieces.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    _catalogue(app, pieces)
    _cart(app, pieces)
    _account(app, pieces)
    _photos(app, pieces)

    @app.exception_handler(BackendError)
    @app.exception_handler(NoServerAvailable)
    @app.exception_handler(OutcomeUnknown)
    @app.exception_handler(DBAPIError)
    async def busy(request: Request, error: Exception) -> Response:
        return Response(type(error).__name__, 503, {"retry-after": "1"})

    pieces.wrap(app)
    return app


def _user(request: Request) -> str:
    user = request.session.user_id
    if user is None:
        raise HTTPException(401)
    return str(user)


def _catalogue(app: FastAPI, pieces: Pieces) -> None:
    links = "".join(f'<a href="/products/{name}">{name}</a>' for name in PRODUCTS)
    names = {"site": "site.css", "shop": "shop.js", "logo": "logo.svg"}
    urls = {place: pieces.asset(name) for place, name in names.items()}

    @app.get("/")
    async def home(request: Request) -> Response:
        user = request.session.user_id or ""
        page = _PAGE.format(release=pieces.settings.release, user=user, products=links, **urls)
        return HTMLResponse(page, headers={"cache-control": "no-store"})

    @app.get("/products/{product}")
    async def product(request: Request, product: str) -> Any:
        user = _user(request)
        async with pieces.cluster.session(consistency=pieces.reading) as session:
            return {"user": user, "reviews": await pieces.reviews(session, product)}

    @app.put("/products/{product}/review/{version}")
    async def review(request: Request, product: str, version: int) -> Any:
        user = _user(request)
        async with pieces.cluster.session() as session:
            values = {"product": product, "user": user, "version": version}
            await _keep_newest(session, Review, values, [Review.product, Review.user])
            await session.commit()
        return {"user": user}


def _cart(app: FastAPI, pieces: Pieces) -> None:
    def items(request: Request) -> dict[str, str]:
        session = request.session
        return {key.removeprefix(_ITEM): session[key] for key in session if key.startswith(_ITEM)}

    @app.post("/login/{user}")
    async def login(request: Request, user: str) -> Any:
        request.session.login(user)
        return {"user": user}

    @app.get("/cart")
    async def cart(request: Request) -> Any:
        return {"user": _user(request), "items": items(request)}

    @app.put("/cart/{token}/{product}")
    async def put(request: Request, token: str, product: str) -> Any:
        user = _user(request)
        request.session[_ITEM + token] = product
        return {"user": user}

    @app.post("/checkout/{once}")
    async def checkout(request: Request, once: str) -> Any:
        user = _user(request)
        async with pieces.cluster.session(consistency=STRONG) as session:
            # Asked by a write: who had no answer the first time learns the position of the order as well.
            again = update(Order).where(Order.once == once).values(once=once).returning(Order.items)
            ordered = await session.scalar(again)
            if ordered is None:
                ordered = items(request)
                session.add(Order(once=once, user=user, items=ordered))
            await session.commit()
        for token in ordered:
            request.session.pop(_ITEM + token, None)
        return {"user": user, "items": ordered}


def _account(app: FastAPI, pieces: Pieces) -> None:
    @app.get("/account")
    async def account(request: Request) -> Any:
        user = _user(request)
        async with pieces.cluster.session(consistency=pieces.reading) as session:
            version = await session.scalar(select(Profile.version).where(Profile.user == user))
            orders = (await session.scalars(select(Order.once).where(Order.user == user))).all()
        return {"user": user, "profile": version or 0, "orders": orders}

    @app.put("/profile/{version}")
    async def profile(request: Request, version: int) -> Any:
        user = _user(request)
        async with pieces.cluster.session() as session:
            await _keep_newest(session, Profile, {"user": user, "version": version}, [Profile.user])
            await session.commit()
        return {"user": user}


async def _keep_newest(session: AsyncSession, model: Any, values: dict[str, Any], key: list[Any]) -> None:
    """The highest version stays: one that was sent twice and arrives late changes nothing."""
    added = insert(model).values(**values)
    newest = func.greatest(model.version, added.excluded.version)
    await session.execute(added.on_conflict_do_update(index_elements=key, set_={"version": newest}))


def _photos(app: FastAPI, pieces: Pieces) -> None:
    @app.post("/photos/{once}")
    async def upload(request: Request, once: str) -> Any:
        user = _user(request)
        unknown: OutcomeUnknown | None = None
        known: str | None = None
        async with stream_form(request, pieces.storage, max_file_size=4 * MiB, accept=["image/*"]) as form:
            key = form.files["photo"].key
            try:
                known = await _record(pieces, Photo(once=once, user=user, key=key))
            except OutcomeUnknown as error:  # raised in here it would take the file away: it may be recorded
                unknown = error
        if unknown is not None:
            raise unknown
        if known is not None:  # the copy that has come now is one too many
            await pieces.storage.delete(key)
        return {"user": user, "key": known or key}

    app.mount("/media", StorageFiles(pieces.storage, cache_control="no-store"))


async def _record(pieces: Pieces, photo: Photo) -> str | None:
    """Record a photo; the key of the one that has its token already, if there is one."""
    async with pieces.cluster.session(consistency=STRONG) as session:
        again = update(Photo).where(Photo.once == photo.once).values(once=photo.once).returning(Photo.key)
        if (known := await session.scalar(again)) is None:
            session.add(photo)
        await session.commit()
    return known


def main(port: int) -> None:
    app = create_app(Settings.from_environment())
    # nginx keeps its connections for a minute: it is to close them, and not the shop under a request.
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_keep_alive=90
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
