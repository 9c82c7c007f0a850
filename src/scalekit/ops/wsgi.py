"""What an autoscaled fleet needs around a WSGI application; a middleware a file, and each works alone."""

from scalekit.ops._wsgi_metrics import MetricsMiddleware
from scalekit.ops._wsgi_ops import OpsMiddleware
from scalekit.ops._wsgi_read_only import ReadOnlyMiddleware
from scalekit.ops._wsgi_shed import SheddingMiddleware

__all__ = ["MetricsMiddleware", "OpsMiddleware", "ReadOnlyMiddleware", "SheddingMiddleware"]
