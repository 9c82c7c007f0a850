"""Reads on replicas, writes on the primary, under Flask.

    python -m examples.database_flask
    curl -i -X POST localhost:8000/notes/hello     # with replicas: a cookie that remembers the write
    curl localhost:8000/notes

One SQLite file by default. For PostgreSQL set
DATABASE_URL=postgresql+psycopg://app@primary/shop and REPLICA_URLS, separated by spaces.
"""

import os
import secrets
from wsgiref.simple_server import make_server

from flask import Flask, g
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.database import Cluster
from scalekit.database.wsgi import ReadYourWritesMiddleware

cluster = Cluster(
    os.environ.get("DATABASE_URL", "sqlite:///notes.db"), replicas=os.environ.get("REPLICA_URLS", "").split()
)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


Base.metadata.create_all(cluster.primary_engine)

app = Flask(__name__)
secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe()  # the same on every server
app.wsgi_app = ReadYourWritesMiddleware(app.wsgi_app, cluster=cluster, secret_key=secret_key)  # type: ignore[method-assign]


def session() -> Session:
    if "session" not in g:
        g.session = cluster.session()
    return g.session


@app.teardown_appcontext
def close(error: BaseException | None) -> None:
    if "session" in g:
        g.session.close()


@app.get("/notes")
def notes() -> list[str]:
    return list(session().scalars(select(Note.text).order_by(Note.id)))


@app.post("/notes/<text>")
def add(text: str) -> tuple[str, int]:
    session().add(Note(text=text))
    session().commit()
    return "", 201


if __name__ == "__main__":
    with cluster, make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
