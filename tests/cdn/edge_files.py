"""The files and the page of a site with all that a page may fetch: for a CDN that pulls."""

import base64
import hashlib
from pathlib import Path

# One glyph, a square, for all of ASCII. Of our own making, by fontTools' FontBuilder.
FONT = base64.b64decode(
    "d09GMgABAAAAAAEsAAoAAAAAA0AAAADiAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAABmAAgXIKMEABNgIkAwgLBgAEIAVaByYbkwJgLgps5zSp2BAO"
    "3PzIJeOlhhElq1Y9M7yv/iUWi7HEn5Hk1MbjHM6hLx706g7Zfe44O54k6WhEVDyEydkZX8DRT48Da4EEHGKibUmUeKCYBHLACwQ3OejGYOlwHhXN"
    "Rm/U/ZBve4Y4gA+JB9tO92Kj2QMoNG614Nb4xRjBdl3xEIr5tyegwKBwiGPAgMhM+qxycLXvD2TZA4Lw9nO/8H/YvYOv1xTZC9toBUIvK3qHTReU"
    "qk/jgwRlBBQAAMa7gNhDQDmwp2WOxLHTpsq5+4Pif69egGSlYUp7Eg5gC/ECAAAA"
)
PICTURES = ("logo", "paper", "small", "large", "hero", "poster", "inner", "late")
MODULES = ("main", "helper", "cart", "lazy")

STYLE = """@import "theme.css";
@font-face { font-family: Block; src: url("../fonts/block.woff2") format("woff2") }
body { background: var(--paper) url(../img/paper.svg); color: rgb(1, 2, 3) }
h1 { font: 24px Block }
"""
MAIN = """import { helper } from "./helper.js";
import { cart } from "cart";
const { lazy } = await import("./lazy.js");
document.querySelector("#late").src = new URL("../img/late.svg", import.meta.url);
window.later = async () => (await import("./later.js")).later;
window.ran.push(["main", "RELEASE"], ["helper", helper], ["cart", cart], ["lazy", lazy]);
"""
PAGE = """<!DOCTYPE html><html lang="en"><head><title>RELEASE</title>
<link rel="icon" href="data:,">
<link rel="preload" as="font" type="font/woff2" crossorigin href="/static/fonts/block.woff2">
<link rel="stylesheet" href="/static/css/site.css">
<style nonce="n">#boxed { background: url(/static/img/inner.svg); width: 40px; height: 40px }</style>
<script type="importmap" nonce="n">{"imports": {"cart": "/static/js/cart.js"}}</script>
<link rel="modulepreload" href="/static/js/helper.js">
<script src="/static/js/classic.js"></script>
<script type="module" src="/static/js/main.js"></script>
</head><body><h1>RELEASE</h1>
<img id="logo" src="/static/img/logo.svg" alt="the logo">
<img src="/static/img/small.svg" srcset="/static/img/small.svg 1x, /static/img/large.svg 2x" alt="">
<img id="late" alt="what a module has asked for">
ONLY<div id="boxed"></div><div style="background: url('/static/img/hero.svg'); height: 40px"></div>
<video poster="/static/img/poster.svg" width="40" height="40"></video>
<a href="/other">another page</a> <a href="/static/img/logo.svg">the file itself</a></body></html>
"""
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-n'; style-src-elem 'self' 'nonce-n'; font-src 'self'; "
    "style-src-attr 'unsafe-inline'; img-src 'self' data:; media-src 'self'"
)

LINK = "</static/css/site.css>; rel=preload; as=style, </static/js/helper.js>; rel=modulepreload"


def write(folder: Path, release: str = "one") -> Path:
    """The files of a release: every one has its name inside, but for the font."""
    texts = {f"img/{name}.svg": _picture(name, release) for name in PICTURES}
    texts["css/site.css"] = STYLE + f"/* {release} */\n"
    texts["css/theme.css"] = f':root {{ --paper: #fff; --release: "{release}" }}'
    texts["js/classic.js"] = f'window.ran = [["classic", "{release}"]];'
    texts["js/main.js"] = MAIN.replace("RELEASE", release)
    texts |= {f"js/{name}.js": f'export const {name} = "{release}";' for name in (*MODULES[1:], "later")}
    # Something that only this release has.
    texts[f"img/only-{release}.svg"] = _picture("only", release)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "fonts").mkdir()
    (folder / "fonts/block.woff2").write_bytes(FONT)
    return folder


def _picture(name: str, release: str) -> str:
    color = hashlib.sha256(f"{name} {release}".encode()).hexdigest()[:6]
    box = f'<rect width="40" height="40" fill="#{color}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><title>{release}</title>{box}</svg>'
    )


def page(release: str) -> str:
    """The page of a release: it shows a picture, too, that only this one has."""
    only = f'<img src="/static/img/only-{release}.svg" alt="">'
    return PAGE.replace("RELEASE", release).replace("ONLY", only)
