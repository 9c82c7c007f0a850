"""A cart that follows its visitor from server to server, under FastAPI.

    python -m examples.sessions_fastapi
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar -X POST localhost:8000/login/ada
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import os
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request

from scalekit.sessions.asgi import AsyncSession, SessionMiddleware, get_session
from scalekit.sessions.redis import RedisStore

app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    store=RedisStore.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")),
    secret_key=os.environ.get("SECRET_KEY", "the same long secret on every server"),
)


def session_of(request: Request) -> AsyncSession:
    return get_session(request)  # request.session, with its type


Session = Annotated[AsyncSession, Depends(session_of)]


@app.get("/")
async def show(session: Session) -> dict[str, Any]:
    return {"user": session.user_id, "cart": session.get("cart", [])}


@app.post("/cart/{sku}")
async def add(session: Session, sku: str) -> list[str]:
    cart: list[str] = session.setdefault("cart", [])
    cart.append(sku)  # a nested change is noticed and saved
    return cart


@app.post("/login/{name}")
async def login(session: Session, name: str) -> None:
    session.login(name)  # after the password was checked; the cart comes along, under a new id


@app.post("/logout")
async def logout(session: Session) -> None:
    session.logout()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
