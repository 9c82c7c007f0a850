"""Event loops and processes: each has its own connections, and leaves none behind."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import redis.asyncio

from scalekit._redis import Redis
from tests.servers import RedisServer, wait_until


def connected(server: RedisServer) -> int:
    return int(server.info("clients")["connected_clients"]) - 1


def test_loops_one_after_the_other() -> None:
    """A loop that ends takes its connections along without close(); the next one works with the same link."""
    with RedisServer() as server:
        link = Redis.from_url(server.url)

        async def main() -> int:
            commands = link.using("async")
            assert await asyncio.gather(*(commands.execute("PING") for _ in range(50))) == [b"PONG"] * 50
            return connected(server)

        for _ in range(3):
            assert 1 <= asyncio.run(main()) <= 2
            wait_until(lambda: connected(server) == 0, what="the loop's connections are closed")


def test_a_loop_that_ends_with_commands_in_flight() -> None:
    """Commands that are on their way when a loop ends leave neither a connection nor a warning."""
    with RedisServer() as server:
        link = Redis.from_url(server.url, timeout=60)

        async def main() -> None:
            commands = link.using("async")
            await commands.execute("PING")
            tasks = [commands.execute("BLPOP", "nothing", 30) for _ in range(5)]
            for _ in range(3):  # turns of the loop, so that they are sent without what comes next
                await asyncio.sleep(0)
            while "blocked_clients:0" in (await commands.execute("INFO", "clients")).decode():
                await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)

        asyncio.run(main())
        wait_until(lambda: connected(server) == 0, what="the loop's connections are closed")


def test_loops_in_threads_at_the_same_time() -> None:
    """One link, four loops in four threads; close() of one closes what the others have too."""
    with RedisServer() as server:
        link = Redis.from_url(server.url)
        ready, done = threading.Barrier(5), threading.Event()
        errors: list[BaseException] = []

        async def main() -> None:
            commands = link.using("async")
            replies = await asyncio.gather(*(commands.execute("INCR", "n") for _ in range(100)))
            assert len(set(replies)) == 100
            await asyncio.to_thread(ready.wait)
            await asyncio.to_thread(done.wait)

        def thread() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=thread) for _ in range(4)]
        for each in threads:
            each.start()
        ready.wait()
        assert server.call("GET", "n") == b"400"
        assert 4 <= connected(server) <= 8

        async def close() -> None:
            await link.using("async").close()

        asyncio.run(close())
        # A socket is closed by its own loop, in the turn after.
        wait_until(lambda: connected(server) == 0, what="all connections are closed")
        done.set()
        for each in threads:
            each.join()
        assert not errors


def test_a_given_client_serves_every_loop(redis_url: str) -> None:
    """Each loop has connections of its own, with the client's settings: at the same time, and one after the
    other, as in a test suite with one client and a loop for every test."""
    link = Redis(redis.asyncio.from_url(redis_url))

    async def main(again: int) -> list[bytes]:
        replies = [await link.using("async").execute("PING")]
        if again:
            replies += await asyncio.to_thread(asyncio.run, main(again - 1))
        return [*replies, await link.using("async").execute("PING")]

    for _ in range(2):
        assert asyncio.run(main(1)) == [b"PONG"] * 4


FORK = """
    import asyncio, os, sys
    from scalekit._redis import Redis

    link = Redis.from_url(sys.argv[1], timeout=30, connect_timeout=30)
    prefix = sys.argv[2]

    def use_sync(name, count):
        commands = link.using("sync")
        for number in range(count):
            commands.execute("SET", prefix + name, f"{name}{number}")
            reply = commands.execute("GET", prefix + name)
            assert reply == f"{name}{number}".encode(), reply
        return commands.execute("CLIENT", "ID")

    async def use_async(name, count):
        commands = link.using("async")
        for number in range(count):
            await commands.execute("SET", prefix + name, f"{name}{number}")
            reply = await commands.execute("GET", prefix + name)
            assert reply == f"{name}{number}".encode(), reply
        return await commands.execute("CLIENT", "ID")

    async def parent():
        # Connections of both colours are open, and a loop is running, when the children are made.
        ids = {use_sync("p", 1), await use_async("q", 1)}
        children = []
        for child in "ab":
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                asyncio.set_event_loop(None)
                own = {use_sync(child, 200), asyncio.run(use_async(child + "x", 200))}
                os.write(write, b"same" if own & ids else b"fine")
                os._exit(0)
            children.append((pid, read))
        ids |= {use_sync("p", 200), await use_async("q", 200)}
        for pid, read in children:
            assert os.read(read, 4) == b"fine"
            assert os.waitpid(pid, 0)[1] == 0
        assert use_sync("p", 1) in ids and await use_async("q", 1) in ids
        print("ok")

    asyncio.run(parent())
    link.using("sync").close()
"""


def run(script: str, *args: str, directory: Path) -> None:
    """Run ``script`` in a process of its own; it is fine if it prints ``ok`` and nothing else."""
    path = directory / "fork.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(path), *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr
    assert done.stderr == ""


def test_children_share_no_socket_with_their_parent(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    """Forked while connections are open (gunicorn --preload): everybody reads only their own replies."""
    run(FORK, redis_server.url, prefix, directory=tmp_path)


FORK_WHILE_A_CLUSTER_IS_ASKED = """
    import os, signal, socket, threading
    from scalekit._redis import Redis
    from scalekit.errors import BackendUnavailable

    node = socket.create_server(("127.0.0.1", 0))
    node.settimeout(20)
    port = node.getsockname()[1]
    link = Redis.from_url(f"redis+cluster://127.0.0.1:{port}", timeout=30, connect_timeout=30)
    commands = link.using("sync")
    del link  # the commands know of the fork without it
    replies = []
    thread = threading.Thread(target=lambda: replies.append(commands.execute("GET", "k")))
    thread.start()
    connection, _ = node.accept()  # the thread asks for the topology

    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        node.close()
        try:
            commands.execute("GET", "k")
        except BackendUnavailable:
            os._exit(0)
        os._exit(1)
    child, _ = node.accept()  # the child asks, too
    child.close()
    node.close()
    assert os.waitpid(pid, 0)[1] == 0

    # The parent's connection is as it was.
    slots = b"*1\\r\\n*3\\r\\n:0\\r\\n:16383\\r\\n*2\\r\\n$9\\r\\n127.0.0.1\\r\\n:%d\\r\\n" % port
    answers = {b"CLUSTER": slots, b"GET": b"$-1\\r\\n"}
    with connection.makefile("rb") as stream:
        words = []
        while words[:1] != [b"GET"]:
            count = int(stream.readline()[1:])
            words = [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(count)]
            connection.sendall(answers.get(words[0], b"+OK\\r\\n"))
    thread.join()
    assert replies == [None]
    print("ok")
"""


def test_a_child_made_while_a_thread_asks_a_cluster(tmp_path: Path) -> None:
    """Forked while a thread of the parent reads the topology: the child reads it for itself."""
    run(FORK_WHILE_A_CLUSTER_IS_ASKED, directory=tmp_path)
