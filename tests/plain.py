"""Requests to servers that a test has started: patient, and without TLS.

An httpx client reads every certificate of the machine, for 30 ms of a processor. Where a condition is polled
that is most of what happens, and what is waited for comes the later; and a busy machine may let an answer
wait longer than httpx does by itself.
"""

from functools import partial

import httpx

PATIENCE = 60.0  # seconds

request = partial(httpx.request, verify=False, timeout=PATIENCE)
get = partial(httpx.get, verify=False, timeout=PATIENCE)
post = partial(httpx.post, verify=False, timeout=PATIENCE)
patch = partial(httpx.patch, verify=False, timeout=PATIENCE)
stream = partial(httpx.stream, verify=False, timeout=PATIENCE)
Client = partial(httpx.Client, verify=False, timeout=PATIENCE)


def answers(url: str, *, below: int = 300) -> bool:
    """Whether a server is there, and answers with a status below this."""
    try:
        return get(url).status_code < below
    except httpx.TransportError:
        return False
