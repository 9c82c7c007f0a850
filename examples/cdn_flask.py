"""Assets from a CDN under Flask, or any other WSGI application.

    python -m examples.cdn_flask
    curl localhost:8000/
    curl -I localhost:8000/static/logo.svg

Set CDN to the address of one. In production: gunicorn examples.cdn_flask:app
"""

import os
from pathlib import Path
from wsgiref.simple_server import make_server

from flask import Flask, render_template_string

from scalekit.cdn import Assets
from scalekit.cdn.wsgi import AssetMiddleware

PAGE = """<!DOCTYPE html>
<link rel="stylesheet" href="{{ asset("site.css") }}"><title>Assets</title>
<h1>Hello</h1><img src="{{ url_for("static", filename="logo.svg") }}" alt="A basket" width="64">
"""

assets = Assets(Path(__file__).with_name("static"), url="/static/", cdn=os.environ.get("CDN") or None)
app = Flask(__name__)
app.jinja_env.globals["asset"] = assets.url
app.wsgi_app = AssetMiddleware(app.wsgi_app, assets=assets)


@app.get("/")
def home() -> str:
    return render_template_string(PAGE)  # url_for() knows nothing of hashes, and is rewritten


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
