"""Take URLs, or whatever has a tag, out of a CDN's caches.

With --cloudfront a URL is one, or a path such as /news, or with a * at its end all that begin so; credentials
come from the environment or from AWS_PROFILE. With --fastly it is a URL, and the token comes from
FASTLY_API_TOKEN.

Hashed files need no purge: what is new has a new name.
"""

import argparse
import os
from typing import TYPE_CHECKING

from scalekit.cli._values import duration

if TYPE_CHECKING:
    from scalekit.cdn.purge import Purger
    from scalekit.cli._terminal import Terminal

SUMMARY = "take what has changed out of a CDN's caches"

_TOKEN = "FASTLY_API_TOKEN"  # noqa: S105  where it is, not what


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("urls", nargs="*", metavar="URL", help="what to purge")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="what has this tag; may be given again"
    )
    parser.add_argument("--everything", action="store_true", help="all that the CDN holds")
    cdn = parser.add_mutually_exclusive_group(required=True)
    cdn.add_argument("--cloudfront", metavar="ID", help="a distribution of Amazon CloudFront")
    cdn.add_argument("--fastly", metavar="ID", help="a service of Fastly")
    parser.add_argument("--soft", action="store_true", help="mark it as stale only (Fastly)")
    parser.add_argument(
        "--wait",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="until no edge has it, for so long at most, such as 5m (CloudFront)",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.cdn.purge import Purged
    from scalekit.errors import ConfigurationError

    if not arguments.urls and not arguments.tag and not arguments.everything:
        raise ConfigurationError("nothing to purge: give URLs, --tag TAG or --everything")
    if arguments.everything and (arguments.urls or arguments.tag):
        raise ConfigurationError("--everything leaves nothing to name; give URLs and tags, or it alone")
    purger = _purger(arguments)
    done: list[Purged] = []
    with terminal.activity() as show:
        show("purging, and waiting for the edges" if arguments.wait else "purging")
        if arguments.everything:
            done.append(purger.everything())
        else:
            done += [purger.urls(arguments.urls), purger.tags(arguments.tag)]
    ids = [name for purged in done for name in purged.ids]
    requests = sum(purged.requests for purged in done)
    terminal.record({"done": True, "requests": requests, "ids": ids})
    for name in dict.fromkeys(ids):
        terminal.say(name)
    what = "everything" if arguments.everything else f"{len(arguments.urls)} URLs, {len(arguments.tag)} tags"
    terminal.say(f"purged {what} by {requests} requests")
    return 0


def _purger(arguments: argparse.Namespace) -> "Purger":
    from scalekit.errors import ConfigurationError

    if arguments.cloudfront is not None:
        if arguments.soft:
            raise ConfigurationError("CloudFront has no soft purge; leave out --soft")
        from scalekit.cdn.cloudfront import CloudFront

        return CloudFront(arguments.cloudfront, wait=arguments.wait)
    if arguments.wait:
        raise ConfigurationError("Fastly has nothing to wait for; leave out --wait")
    from scalekit.cdn.fastly import API, Fastly

    token = os.environ.get(_TOKEN)
    if not token:
        raise ConfigurationError(
            f"set {_TOKEN} to an API token of Fastly; command lines are seen by everyone"
        )
    api = os.environ.get("FASTLY_API_ENDPOINT", API)
    return Fastly(arguments.fastly, token=token, soft=arguments.soft, api=api)
