"""``python -m examples.shop [--single] [--port N] [--no-open]``, from the repository's root."""

import argparse
import asyncio
import signal
import socket
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from examples.shop.control import control_room
from examples.shop.front import Front, cdn, listen, serve
from tests.servers.base import ServerFailed, ServerMissing


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev demo", description="A shop that survives its big day.")
    parser.add_argument(
        "--port", type=_number(0, 65_535), metavar="N", help="of the shop; 8000 or, if that is taken, any"
    )
    parser.add_argument(
        "--servers",
        type=_number(1, 6),
        metavar="N",
        default=3,
        help="app servers to begin with, 1 to 6; 3 by default",
    )
    parser.add_argument("--no-open", action="store_true", help="do not open a browser")
    parser.add_argument("--single", action="store_true", help="one process, with SQLite and no Valkey")
    return parser.parse_args()


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is no number from {least} to {most}")
        return value

    return number


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


class _Stop(asyncio.Event):
    """Set by Ctrl-C; says so at once, because closing takes a moment."""

    def set(self) -> None:
        if not self.is_set():
            print("\nClosing the shop...", flush=True)
        super().set()


def _port(wanted: int | None) -> socket.socket:
    if wanted is not None:
        try:
            return listen(wanted)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OSError(f"port {wanted}: {reason}; choose another with --port") from error
    try:
        return listen(8000)
    except OSError:
        return listen(0)


async def _fleet(arguments: argparse.Namespace, stop: asyncio.Event) -> tuple[Any, Any]:
    from examples.shop.supervisor import Fleet

    cdn_listener = listen(0)
    cdn_port = cdn_listener.getsockname()[1]
    cdn_server, cdn_task = serve(cdn(), cdn_listener)
    fleet = Fleet()

    def say(text: str) -> None:
        if not stop.is_set():
            _say(text)

    async def end() -> None:
        cdn_server.should_exit = True
        await cdn_task
        await fleet.stop()

    try:
        starting = asyncio.create_task(
            fleet.start(servers=arguments.servers, cdn=f"http://127.0.0.1:{cdn_port}", say=say)
        )
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await starting  # also when asked to stop: half a fleet is harder to end than a whole one
    except BaseException:
        await end()
        raise
    say(f"assets from a CDN on port {cdn_port}")
    return fleet, end


async def _run(arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    stop = _Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    listener = _port(arguments.port)
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    folder = tempfile.TemporaryDirectory(prefix="scalekit-shop-")
    print("Opening the shop...", flush=True)
    if arguments.single:
        from examples.shop.single import Single

        controlled: Any = Single(Path(folder.name))
        await controlled.start()
        shop, end = controlled, controlled.stop
        _say("one process, SQLite")
    else:
        controlled, end = await _fleet(arguments, stop)
        shop = controlled.balancer
    controlled.burst.url = url
    try:
        if stop.is_set():
            return
        control = control_room(controlled)
        server, task = serve(Front(shop=shop, control=control), listener, lifespan=arguments.single)
        print(f"\nThe shop:          {url}/\nThe control room:  {url}/control", flush=True)
        _say(f"ready in {time.monotonic() - began:.1f} s; Ctrl-C closes it")
        if not arguments.no_open:
            with suppress(webbrowser.Error):
                webbrowser.open(url)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        control.state.stopping.set()
        server.should_exit = True
        await task
    finally:
        await end()
        listener.close()
        folder.cleanup()


def main() -> int:
    try:
        asyncio.run(_run(_arguments()))
    except (OSError, ServerFailed, ServerMissing) as error:
        print(f"the shop could not open: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
