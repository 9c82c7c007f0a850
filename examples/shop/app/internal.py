"""What this server tells the control room. Not for visitors: the load balancer does not pass it on."""

import os
import time
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

router = APIRouter(prefix="/_internal", include_in_schema=False)

_started = time.monotonic()


@router.get("/stats")
async def stats(request: Request) -> Response:
    client = request.client
    if client is None or client.host not in ("127.0.0.1", "::1") or "x-forwarded-for" in request.headers:
        raise HTTPException(404)
    return JSONResponse(figures(request.app))


def figures(app: object) -> dict[str, object]:
    """Counters of this process: the cache's, and what the databases were asked."""
    shop = app.state.shop  # type: ignore[attr-defined]
    cache = shop.cache.stats()
    return {
        "server": shop.settings.server,
        "pid": os.getpid(),
        "uptime": time.monotonic() - _started,
        "cache": asdict(cache) | {"hit_rate": cache.hit_rate},
        "databases": shop.counts.snapshot(),
    }
