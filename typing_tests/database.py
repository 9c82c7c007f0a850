"""The public types of scalekit.database."""

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_type
from wsgiref.types import WSGIApplication

from sqlalchemy import Connection, Engine, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from starlette.applications import Starlette
from starlette.middleware import Middleware

from scalekit.database import (
    ANY,
    STRONG,
    AsyncCluster,
    Bounded,
    Cluster,
    MemberStatus,
    ReadWriteSession,
    Scope,
    Status,
    Token,
    TokenSigner,
    by_cookie,
)
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.database.wsgi import ReadYourWritesMiddleware as WSGIReadYourWritesMiddleware
from scalekit.testing.database import Recording, Statement, one_transaction, recording


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class MySession(Session):
    pass


class MyAsyncSession(AsyncSession):
    pass


async def use_async(cluster: AsyncCluster) -> None:
    async with cluster, cluster.session(consistency=Bounded(timedelta(seconds=5))) as session:
        assert_type(session, AsyncSession)
        assert_type((await session.scalars(select(Item))).all(), Sequence[Item])
    assert_type(cluster.connection(read=True), AsyncConnection)
    async with cluster.connection(read=True, consistency=ANY) as connection:
        assert_type((await connection.scalars(select(Item.name))).all(), Sequence[str])
    assert_type(cluster.primary_engine, AsyncEngine)
    assert_type(cluster.sessionmaker(expire_on_commit=False), async_sessionmaker[AsyncSession])
    assert_type(cluster.sessionmaker(class_=MyAsyncSession)(), MyAsyncSession)
    await cluster.dispose()


def use_sync(cluster: Cluster) -> None:
    with cluster, cluster.session(consistency=ANY, expire_on_commit=False) as session:
        assert_type(session, ReadWriteSession)
        plain: Session = session
        assert_type(plain.get(Item, 1), Item | None)
        assert_type(session.scalars(select(Item.name)).all(), Sequence[str])
    with cluster.connection(read=True) as connection:
        assert_type(connection, Connection)
    assert_type(cluster.primary_engine, Engine)
    assert_type(cluster.sessionmaker(consistency=ANY), sessionmaker[ReadWriteSession])
    assert_type(cluster.sessionmaker(class_=MySession)(), MySession)
    assert_type(scoped_session(cluster.sessionmaker())(), ReadWriteSession)
    assert_type(cluster.session_class(MySession), type[MySession])
    with cluster.replicas(Bounded(5)):
        pass
    with cluster.primary():
        assert_type(cluster.status(), Status)
        assert_type(cluster.status().members, tuple[MemberStatus, ...])
    with cluster.scope(writes=True) as scope:
        assert_type(scope, Scope)
        assert_type(scope.token, Token | None)
    assert_type(cluster.event_target, type[ReadWriteSession])


async def use_in_tests(cluster: Cluster, async_cluster: AsyncCluster) -> None:
    with recording(cluster) as seen, recording(async_cluster), one_transaction(cluster) as also:
        assert_type(seen, Recording)
        assert_type(also.primary, list[Statement])
    async with one_transaction(async_cluster) as seen:
        assert_type(seen, Recording)


def sign(signer: TokenSigner, token: Token) -> None:
    assert_type(signer.dumps(token), str)
    assert_type(signer.loads("..."), Token | None)


cluster = AsyncCluster(
    "postgresql+asyncpg://primary/shop", replicas=["postgresql+asyncpg://replica/shop"], pool_size=10
)
app = Starlette(middleware=[Middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key="s" * 16)])
app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=["s" * 16, "t" * 16], max_age=60)
app.add_middleware(
    ReadYourWritesMiddleware,
    cluster=cluster,
    secret_key="s" * 16,
    cookie=None,
    header="X-RW",
    routes={"POST /search": "reads"},
    visitor=by_cookie("session"),
)


@cluster.primary()
def pay(amount: int, *, currency: str) -> Item:
    raise NotImplementedError


@cluster.replicas(ANY)
async def search(words: str) -> list[Item]:
    raise NotImplementedError


async def call() -> None:
    assert_type(pay(1, currency="EUR"), Item)
    assert_type(await search("tea"), list[Item])


strong = Cluster("sqlite://", consistency=STRONG, session_options={"expire_on_commit": False})


def wrap(app: WSGIApplication) -> WSGIApplication:
    return WSGIReadYourWritesMiddleware(app, cluster=strong, secret_key="s" * 16)
