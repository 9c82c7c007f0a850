"""What each server of a fleet behind a shield runs: ``uvicorn tests.cdn.shielded_fleet:app``."""

import os

from scalekit.cdn import Shield
from scalekit.cdn.asgi import ShieldMiddleware
from tests.ops.fleet_app import app as fleet_app

# /taken-out is the balancer's word to the server, as health is the server's to it.
shield = Shield(
    secret=os.environ["SECRETS"].split(), client="X-Forwarded-For", exempt=["/health/", "/taken-out"]
)
app = ShieldMiddleware(fleet_app, shield=shield)
