"""Cached queries and pages under Flask: plain functions, a plain sessionmaker, the same cache.

    python -m examples.cache_flask
    curl localhost:8000/products/books
    curl -i localhost:8000/pages/books                 # the whole page is kept, with an ETag
    curl -X POST localhost:8000/products/books/Emma
    curl localhost:8000/stats

REDIS_URL says where Redis is; start it on two ports (PORT) to see that both servers agree.
"""

import dataclasses
import os
from html import escape
from wsgiref.simple_server import make_server

from flask import Flask
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend

cache = Cache(RedisBackend.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/1")))
engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///products.db"))
sessions = sessionmaker(engine)
cache.watch(sessions)


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[str]
    name: Mapped[str]


@dataclasses.dataclass(frozen=True)
class ProductRow:
    id: int
    name: str


@cache.query(ttl=60, reads=[Product])
def products(session: Session, category: str) -> tuple[ProductRow, ...]:
    query = select(Product.id, Product.name).where(Product.category == category).order_by(Product.id)
    return tuple(ProductRow(*row) for row in session.execute(query))


Base.metadata.create_all(engine)
app = Flask(__name__)


@app.get("/products/<category>")
def show(category: str) -> list[dict[str, object]]:
    with sessions() as session:
        return [dataclasses.asdict(row) for row in products(session, category)]


@app.get("/pages/<category>")
@cache.response(ttl=60, reads=[Product])
def page(category: str) -> str:
    with sessions() as session:
        items = "".join(f"<li>{escape(row.name)}" for row in products(session, category))
    return f"<h1>{escape(category)}</h1><ul>{items}</ul>"


@app.post("/products/<category>/<name>")
def add(category: str, name: str) -> dict[str, str]:
    with sessions.begin() as session:
        session.add(Product(category=category, name=name))
    return {"added": name}


@app.get("/stats")
def stats() -> dict[str, object]:
    return dataclasses.asdict(cache.stats())


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
