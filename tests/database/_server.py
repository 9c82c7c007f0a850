"""One application server as a process of its own, for the tests: uvicorn on a free port."""

import asyncio
import os

import uvicorn
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.database import AsyncCluster
from scalekit.database.asgi import ReadYourWritesMiddleware
from tests.database.conftest import PATIENT

# No ramp: each process has one of its own, and while it lasts they may disagree about a visitor's replica.
cluster = AsyncCluster(
    os.environ["PRIMARY_URL"],
    replicas=os.environ["REPLICA_URLS"].split(),
    probe_interval=0.1,
    ramp=0,
    **PATIENT,
)


async def stock(request: Request) -> JSONResponse:
    async with cluster.session() as session:
        if request.method == "POST":
            await session.execute(text("UPDATE item SET stock = stock + 1 WHERE id = 1"))
            await session.commit()
        found = await session.execute(
            text("SELECT stock, pg_is_in_recovery(), inet_server_port() FROM item WHERE id = 1")
        )
        value, replica, port = found.one()
    return JSONResponse({"stock": value, "replica": replica, "port": port})


app = Starlette(routes=[Route("/", stock, methods=["GET", "POST"])])
app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key="a secret that all servers share")

if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(app, fd=int(os.environ["LISTEN_FD"]), log_level="warning"))
    asyncio.run(server.serve())
