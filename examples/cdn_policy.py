"""Pages that a CDN keeps, and an origin that only the CDN reaches, under FastAPI.

    python -m examples.cdn_policy
    curl -i localhost:8000/products/7         # for everybody, with its tags
    curl -i localhost:8000/account            # one visitor's: private
    curl -i -H "Cookie: session=1" localhost:8000/products/7

With secrets, the origin answers nobody else:

    ORIGIN_SECRETS=a-secret-that-nobody-guesses python -m examples.cdn_policy
    curl -i localhost:8000/products/7         # 403, without X-Origin-Secret
"""

import os

import uvicorn
from fastapi import FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware

from scalekit.cdn import CachePolicy, Shield, add_tags
from scalekit.cdn.asgi import PolicyMiddleware, ShieldMiddleware

# A minute in browsers, which nobody can call back; an hour in the CDN, which purges it when it changes.
PRODUCT = CachePolicy(
    max_age=60,
    shared_max_age=3600,
    stale_if_error=86400,
    tags=["products", "product:{sku}"],
    ignore_cookies=["_ga*"],
)

app = FastAPI()


@app.get("/products/{sku}")
@PRODUCT
async def product(sku: int) -> dict[str, object]:
    maker = sku % 3
    add_tags(f"maker:{maker}")
    return {"sku": sku, "maker": maker}


@app.get("/account")
@CachePolicy(max_age=60)  # a mistake, and harmless
async def account(request: Request) -> dict[str, int]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"visits": request.session["visits"]}


# The last one is outermost.
app.add_middleware(SessionMiddleware, secret_key=os.environ.get("SECRET", "a secret of your own"))
app.add_middleware(PolicyMiddleware)
if secrets := os.environ.get("ORIGIN_SECRETS", "").split():
    app.add_middleware(ShieldMiddleware, shield=Shield(secret=secrets, client="X-Forwarded-For"))

if __name__ == "__main__":
    # The shield knows whom to believe.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), proxy_headers=False)
