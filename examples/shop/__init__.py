"""Sill & Stem, a plant shop that survives its big day. Run it with ``./dev demo``.

======================  =========================================================
``app/``                the shop: one FastAPI application, the same on every server
``supervisor.py``       starts and stops everything: Valkey, PostgreSQL, app servers
``proxy.py``            the load balancer, round robin and without stickiness
``busy.py``             the page for when no server can answer
``control.py``          the control room: live figures, and buttons that break things
``load.py``             a crowd of visitors who check what they are shown
======================  =========================================================
"""
