"""Reads on replicas, writes on the primary, with Flask-SQLAlchemy 3: `db.session` and models as they are.

    python -m examples.database_flask_sqlalchemy
    curl -i -X POST localhost:8000/notes/hello     # with replicas: a cookie that remembers the write
    curl localhost:8000/notes

One SQLite file by default. For PostgreSQL set
DATABASE_URL=postgresql+psycopg://app@primary/shop and REPLICA_URLS, separated by spaces.
"""

import os
import secrets
from wsgiref.simple_server import make_server

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.database import Cluster
from scalekit.database.wsgi import ReadYourWritesMiddleware

url = os.environ.get("DATABASE_URL", "sqlite:///notes.db")
cluster = Cluster(url, replicas=os.environ.get("REPLICA_URLS", "").split())


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base, session_options={"class_": cluster.session_class(Session)})


class Note(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = url  # it wants one; what it would do with it, the cluster does
db.init_app(app)
secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe()  # the same on every server
app.wsgi_app = ReadYourWritesMiddleware(app.wsgi_app, cluster=cluster, secret_key=secret_key)  # type: ignore[method-assign]
db.metadata.create_all(cluster.primary_engine)


@app.get("/notes")
def notes() -> list[str]:
    return list(db.session.scalars(db.select(Note.text).order_by(Note.id)))


@app.post("/notes/<text>")
def add(text: str) -> tuple[str, int]:
    db.session.add(Note(text=text))
    db.session.commit()
    return "", 201


if __name__ == "__main__":
    with cluster, make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
