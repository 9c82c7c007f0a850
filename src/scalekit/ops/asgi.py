"""What an autoscaled fleet needs around an ASGI application; a middleware a file, and each works alone."""

from scalekit.ops._asgi_ops import OpsMiddleware

__all__ = ["OpsMiddleware"]
