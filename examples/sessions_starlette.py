"""A cart that follows its visitor, under Starlette; loaded only where it is needed (``lazy=True``).

    python -m examples.sessions_starlette
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from scalekit.sessions.asgi import SessionMiddleware, load
from scalekit.sessions.redis import RedisStore


async def show(request: Request) -> JSONResponse:
    session = await load(request)
    return JSONResponse({"user": session.user_id, "cart": session.get("cart", [])})


async def add(request: Request) -> JSONResponse:
    session = await load(request)
    session.setdefault("cart", []).append(request.path_params["sku"])
    return JSONResponse(session["cart"])


async def login(request: Request) -> JSONResponse:
    (await load(request)).login(request.path_params["name"])  # after the password was checked
    return JSONResponse(None)


async def logout(request: Request) -> JSONResponse:
    (await load(request)).logout()
    return JSONResponse(None)


async def about(request: Request) -> PlainTextResponse:
    return PlainTextResponse("This page costs Redis nothing, whoever asks.")


app = Starlette(
    routes=[
        Route("/", show),
        Route("/cart/{sku}", add, methods=["POST"]),
        Route("/login/{name}", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/about", about),
    ],
    middleware=[
        Middleware(
            SessionMiddleware,
            store=RedisStore.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")),
            secret_key=os.environ.get("SECRET_KEY", "the same long secret on every server"),
            lazy=True,
        )
    ],
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
