"""A cart that follows its visitor from server to server, under FastAPI.

    python -m examples.sessions_fastapi
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar -X POST localhost:8000/login/ada
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import os
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore

app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    store=RedisStore.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")),
    secret_key=os.environ.get("SECRET_KEY", "the same long secret on every server"),
)


@app.get("/")
async def show(request: Request) -> dict[str, Any]:
    session: Any = request.session
    return {"user": session.user_id, "cart": session.get("cart", [])}


@app.post("/cart/{sku}")
async def add(request: Request, sku: str) -> list[str]:
    cart: list[str] = request.session.setdefault("cart", [])
    cart.append(sku)  # a nested change is noticed and saved
    return cart


@app.post("/login/{name}")
async def login(request: Request, name: str) -> None:
    session: Any = request.session
    session.login(name)  # after the password was checked; the cart comes along, under a new id


@app.post("/logout")
async def logout(request: Request) -> None:
    session: Any = request.session
    session.logout()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
