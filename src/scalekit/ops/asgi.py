"""What an autoscaled fleet needs around an ASGI application; a middleware a file, and each works alone."""

from scalekit.ops._asgi_metrics import MetricsMiddleware
from scalekit.ops._asgi_ops import OpsMiddleware
from scalekit.ops._asgi_read_only import ReadOnlyMiddleware
from scalekit.ops._asgi_shed import SheddingMiddleware

__all__ = ["MetricsMiddleware", "OpsMiddleware", "ReadOnlyMiddleware", "SheddingMiddleware"]
