"""The origin of a CDN in tests: ``uvicorn tests.cdn.policy_app:app``. Pages say how often they were made."""

from collections import Counter

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit.cdn import CachePolicy
from scalekit.cdn.asgi import PolicyMiddleware
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.memory import MemoryStore

HOUR = 3600

made: Counter[str] = Counter()

NEWS = CachePolicy(shared_max_age=HOUR, tags=["news"], ignore_cookies=["*"])
SHORT = CachePolicy(shared_max_age=1, stale_if_error=24 * HOUR)
LIST = CachePolicy(shared_max_age=HOUR, query=["page"], query_redirect=True)


async def page(request: Request) -> Response:
    made[request.url.path] += 1
    return PlainTextResponse(f"{request.url.path} {made[request.url.path]}")


async def account(request: Request) -> Response:
    """A visitor's own page; it forgets to say so, and says the contrary."""
    made["visitors"] += "visitor" not in request.session
    request.session.setdefault("visitor", made["visitors"])
    headers = {"cache-control": "public, max-age=600"}
    return PlainTextResponse(f"visitor {request.session['visitor']}", headers=headers)


async def failing(request: Request) -> Response:
    made["failing"] += 1
    return PlainTextResponse("failed", status_code=500)


routes = [
    Route("/news", NEWS(page)),
    Route("/short", SHORT(page)),
    Route("/list", page),
    Route("/plain", page),
    Route("/account", account),
    Route("/greeting", NEWS(account)),
    Route("/failing", NEWS(failing)),
]
app = Starlette(routes=routes)
app.add_middleware(SessionMiddleware, store=MemoryStore(), secret_key="a secret of the tests, long enough")
app.add_middleware(PolicyMiddleware, policies={"/list": LIST})
