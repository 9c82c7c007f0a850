"""The rules of the cache's back ends, one check a rule; :mod:`scalekit.testing.cache` runs them."""
