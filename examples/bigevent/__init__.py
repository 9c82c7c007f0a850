"""The proof: a shop on its big day, with everything that breaks on such a day. ``./dev bench bigevent``.

===================  =======================================================================
``app.py``           the shop, one process of the fleet; ``pieces.py`` is what it stands on
``servers.py``       nginx in front, nginx as the CDN, S3
``redises.py``       Redis with Sentinel, or a Redis Cluster
``databases.py``     PostgreSQL: a primary, two replicas, and their roles
``fleet.py``         starts, drains and kills the processes of the shop
``autoscaler.py``    how many there are to be
``faults.py``        what breaks, and when
``journeys.py``      the visitors, who keep a ``history.py``
``checkers.py``      what must not be in a history; ``violations.py`` is what they find
``report.py``        the figures; ``page.py`` draws them
``run.py``           one run of all this
===================  =======================================================================
"""
