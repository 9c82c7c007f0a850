"""A server process for `test_processes.py`: serves one request at a time, told by lines of JSON.

A request is ``{"cookie": ..., "do": [[name, argument...], ...]}``; the action ``wait`` says "waiting" and
goes on with the next line of input. The answer is ``{"status", "set_cookies", "json"}``.
"""

import json
import sys
from typing import Any

from scalekit.sessions import Store, UserSessions
from scalekit.sessions.migration import StarletteCookie
from scalekit.sessions.session import Session
from tests.sessions.shells import SHELLS, Visitor, settled

USERS: list[UserSessions] = []


def say(message: Any) -> None:
    print(json.dumps(message), flush=True)


async def perform(session: Session, actions: list[list[Any]]) -> Any:
    for name, *arguments in actions:
        match name:
            case "wait":
                say("waiting")
                sys.stdin.readline()
            case "set":
                session[arguments[0]] = arguments[1]
            case "append":
                session[arguments[0]].append(arguments[1])
            case "increment":
                session[arguments[0]] = session.get(arguments[0], 0) + 1
            case "delete":
                del session[arguments[0]]
            case "look":
                len(session)
            case "revoke_all":
                USERS[0].revoke_all(*arguments)
            case "call":
                await settled(getattr(session, arguments[0])(*arguments[1:]))
            case "store":
                session["result"] = await settled(getattr(session, arguments[0])(*arguments[1:]))
            case method:
                await settled(getattr(session, method)(*arguments))
    return [session.user_id, dict(session)]


def store_at(url: str, prefix: str) -> Store:
    """Each is imported where it is there. Patient: a machine under load is no outage."""
    if url.startswith("memcached:"):
        from scalekit.sessions.memcached import MemcachedStore

        return MemcachedStore.from_url(url, prefix=prefix, timeout=30, connect_timeout=30)
    from scalekit.sessions.redis import RedisStore

    return RedisStore.from_url(url, prefix=prefix, timeout=30, connect_timeout=30)


def main(url: str, prefix: str, shell: str, old_secret: str = "") -> None:
    store = store_at(url, prefix)
    migrate = [StarletteCookie(secret_key=old_secret)] if old_secret else []
    server = SHELLS[shell](store, migrate=migrate)
    USERS.append(UserSessions(store))
    for line in sys.stdin:
        request = json.loads(line)
        visitor = Visitor(server, request["cookie"])
        for _ in range(request.get("times", 1)):
            reply = visitor.visit(lambda session: perform(session, request["do"]))  # noqa: B023
        say({"status": reply.status, "set_cookies": reply.set_cookies, "json": json.loads(reply.body)})


if __name__ == "__main__":
    main(*sys.argv[1:])
