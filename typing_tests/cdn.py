"""The public types of scalekit.cdn."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import assert_type
from wsgiref.types import WSGIApplication

from sqlalchemy.orm import sessionmaker
from starlette.applications import Starlette
from starlette.middleware import Middleware

from scalekit.cdn import (
    Asset,
    AssetFile,
    Assets,
    CachePolicy,
    Entry,
    HtmlRewriter,
    Manifest,
    Shield,
    add_tags,
)
from scalekit.cdn.asgi import AssetFiles, AssetMiddleware, PolicyMiddleware, ShieldMiddleware
from scalekit.cdn.commits import purge_on_commit
from scalekit.cdn.purge import Purged
from scalekit.cdn.purge_queue import PurgeQueue
from scalekit.cdn.wsgi import AssetFiles as WSGIAssetFiles
from scalekit.cdn.wsgi import AssetMiddleware as WSGIAssetMiddleware
from scalekit.cdn.wsgi import PolicyMiddleware as WSGIPolicyMiddleware
from scalekit.cdn.wsgi import ShieldMiddleware as WSGIShieldMiddleware
from scalekit.types import ASGIApp

assets = Assets("static", url="/static/", cdn="https://cdn.example.com")
alone = Assets(Path("static"), max_age=0)

built = Assets.from_manifest("dist/manifest.json", folder="dist", cdn="https://cdn.example.com")
remote = Assets.from_manifest(Manifest.load(Path("manifest.json")), url="/assets/")

assert_type(built, Assets)
assert_type(remote.manifest(), Manifest)
assert_type(Manifest.load("manifest.json", url="/assets/")["logo.png"], Entry)
assert_type(remote.manifest().files, frozenset[str])
assert_type(Manifest([]).to_bytes(), bytes)

if (asset := assets.get("logo.png")) is not None:
    assert_type(asset.integrity, str | None)
    assert_type(asset.rendered_digest, str | None)
    if isinstance(asset, AssetFile):
        assert_type(asset.path, Path)
        assert_type(asset.rendered_digest, str)

assert_type(assets.folder, Path | None)
assert_type(assets.url("logo.png"), str)
assert_type(assets.get("logo.png"), Asset | None)
assert_type(assets.cdn, str | None)
assert_type(assets.version, str)
assert_type(assets.counts["pages"], int)
assert_type(assets.counts.as_dict(), dict[str, int])
assert_type(iter(assets), Iterator[Asset])
assert_type("logo.png" in assets, bool)

app = Starlette(middleware=[Middleware(AssetMiddleware, assets=assets)])
app.add_middleware(AssetMiddleware, assets=assets)
wrapped: ASGIApp = AssetMiddleware(app, assets=assets)
files: ASGIApp = AssetFiles(assets)


def wrap(app: WSGIApplication) -> WSGIApplication:
    return WSGIAssetMiddleware(app, assets=assets)


wsgi_files: WSGIApplication = WSGIAssetFiles(assets)

rewriter = HtmlRewriter(assets, path="/", host=None, charset="utf-8")
assert_type(rewriter.feed(b"") + rewriter.close(), bytes)
assert_type(HtmlRewriter(assets).rewrite(b""), bytes)
assert_type(rewriter.count, int)
assert_type(rewriter.failed, bool)

shield = Shield(secret=["the old one", "the new one"], client="True-Client-IP", hops=2)
assert_type(shield.counts["missing"], int)
app.add_middleware(ShieldMiddleware, shield=shield)
shielded: ASGIApp = ShieldMiddleware(app, shield=shield)


def wrap_shielded(app: WSGIApplication) -> WSGIApplication:
    return WSGIShieldMiddleware(app, shield=shield)


policy = CachePolicy(max_age=60, cdn_max_age=timedelta(hours=1), tags=["product:{sku}"])


@policy
def product(sku: int) -> str:
    add_tags(f"maker:{sku}")
    return ""


assert_type(product(7), str)
app.add_middleware(PolicyMiddleware, policies={"/news/": policy}, others="private")
kept: ASGIApp = PolicyMiddleware(app, max_tags=100, cdn_headers=["Surrogate-Control"])


def wrap_kept(app: WSGIApplication) -> WSGIApplication:
    return WSGIPolicyMiddleware(app, policies={"/news/": policy})


class Silent:
    def urls(self, urls: Iterable[str]) -> Purged:
        return Purged()

    def tags(self, tags: Iterable[str]) -> Purged:
        return Purged(requests=1)

    def everything(self) -> Purged:
        return Purged()


purges = purge_on_commit(
    sessionmaker(), Silent(), tags={Silent: ["a"], Asset: lambda row: [row.name]}, attempts=3
)
assert_type(purges, PurgeQueue)
assert_type(purges.wait(timedelta(seconds=3)), bool)
