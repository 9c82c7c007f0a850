"""scalekit: make a web application stateless enough that any server can answer any request.

Five pieces, each useful alone; importing this package imports none of them:

* :mod:`scalekit.sessions`  server-side sessions in Redis, for ASGI, WSGI and Flask
* :mod:`scalekit.database`  a SQLAlchemy session that reads from replicas and never shows stale data
* :mod:`scalekit.cache`     a decorator that caches query results
* :mod:`scalekit.storage`   uploads that stream to S3 or to a shared file system
* :mod:`scalekit.cdn`       asset URLs that point at a CDN

and :mod:`scalekit.ops`, what an autoscaled fleet needs around them.
"""

__version__ = "0.1.0"
