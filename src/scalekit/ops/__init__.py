"""What an autoscaled fleet needs around the pieces: health for the balancer, and a drain before the end.

One line adopts both, and each works without any of the other pieces::

    from scalekit.ops import Check
    from scalekit.ops.asgi import OpsMiddleware     # scalekit.ops.wsgi has its WSGI twin

    app.add_middleware(OpsMiddleware, checks=[Check("database", ping)])

:mod:`~scalekit.ops.health` decides, :mod:`~scalekit.ops.drain` counts and waits,
:mod:`~scalekit.ops.signals` listens; the shells only translate. What happens is counted, see
:mod:`~scalekit.ops.collecting`.
``SheddingMiddleware`` turns away what is too much: :mod:`~scalekit.ops.shedding`.
"""

from scalekit.ops.collecting import Metrics
from scalekit.ops.drain import Drain
from scalekit.ops.health import Check, Health, Report
from scalekit.ops.limits import Limits
from scalekit.ops.priorities import Priority, Rule
from scalekit.ops.shedding import Shedding

__all__ = ["Check", "Drain", "Health", "Limits", "Metrics", "Priority", "Report", "Rule", "Shedding"]
