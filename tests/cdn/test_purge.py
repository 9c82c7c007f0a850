"""Purging by URL, by tag and altogether, in both colours, at APIs that refuse what they do not document."""

import asyncio
import inspect
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("aiobotocore")  # the stand-in of CloudFront reads botocore's model

from scalekit._steps import Steps, run
from scalekit.cdn.cloudfront import AsyncCloudFront, CloudFront
from scalekit.cdn.fastly import AsyncFastly, Fastly
from scalekit.cdn.purge import AsyncPurger, Patience, Purged, Purger, TryAgain
from scalekit.errors import BackendTimeout, BackendUnavailable, ConfigurationError, PurgeRefused
from tests.cdn import purge_apis
from tests.cdn.purge_apis import DISTRIBUTION, SERVICE, TOKEN

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "aws-secret-hunter2"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit.cdn.purge._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("scalekit.cdn.cloudfront._POLL_SECONDS", 0.001)


@pytest.fixture
def fastly_api() -> Iterator[purge_apis.Fastly]:
    with purge_apis.Fastly() as api:
        yield api


@pytest.fixture
def cloudfront_api() -> Iterator[purge_apis.CloudFront]:
    with purge_apis.CloudFront() as api:
        yield api


class Both:
    """Calls a purger of either colour in the same way."""

    def __init__(self, colour: str) -> None:
        self.colour = colour

    def fastly(self, server: purge_apis.Fastly, **options: Any) -> Any:
        kind = Fastly if self.colour == "sync" else AsyncFastly
        return kind(SERVICE, **{"token": TOKEN, "api": server.url, **options})

    def cloudfront(self, api: purge_apis.CloudFront, distribution: str = DISTRIBUTION, **options: Any) -> Any:
        kind = CloudFront if self.colour == "sync" else AsyncCloudFront
        return kind(distribution, endpoint_url=api.url, **KEYS, **options)

    async def __call__(self, purger: Any, method: str, *arguments: Any) -> Purged:
        try:
            if self.colour == "sync":
                return await asyncio.to_thread(getattr(purger, method), *arguments)
            return await getattr(purger, method)(*arguments)
        finally:
            if isinstance(purger, AsyncCloudFront):
                await purger.aclose()


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


async def test_fastly_by_url(both: Both, fastly_api: purge_apis.Fastly) -> None:
    """A URL is purged by host, path and query, each once; what is not ASCII is encoded as a browser would."""
    urls = [
        "https://shop.example/news?page=2",
        "https://shop.example",
        "shop.example/büch er".replace(" ", "%20"),
    ]
    done = await both(both.fastly(fastly_api), "urls", [*urls, urls[0]])
    assert done == Purged(requests=3, ids=("1-url",) * 3)
    assert fastly_api.purged == [
        ("url", "shop.example/news?page=2"), ("url", "shop.example/"), ("url", "shop.example/b%C3%BCch%20er"),
    ]  # fmt: skip


async def test_fastly_by_tag(both: Both, fastly_api: purge_apis.Fastly) -> None:
    """Tags go in as few requests as its limits allow: 256 keys, and a header that servers take."""
    tags = [f"product-{number}" for number in range(600)]
    done = await both(both.fastly(fastly_api), "tags", tags)
    assert fastly_api.purged == [("key", tag) for tag in tags]
    assert (done.requests, len(done.ids)) == (3, 600)
    long = [str(number) + "x" * 1000 for number in range(9)]
    assert (await both(both.fastly(fastly_api), "tags", long)).requests == 2
    assert all(len(headers["surrogate-key"]) <= 8000 for _, _, headers in fastly_api.requests)


async def test_a_profile_that_is_not_there(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a mistake in the set-up, as all that keeps a client from being made."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-one")
    kind = CloudFront if both.colour == "sync" else AsyncCloudFront
    with pytest.raises(ConfigurationError, match=r"\(no-such-one\) could not be found; correct AWS_PROFILE"):
        await both(kind(DISTRIBUTION), "urls", ["/news"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fastly_in_a_child(fastly_api: purge_apis.Fastly) -> None:
    """A server that is forked after a purge has threads of its own for the next one."""
    purger = AsyncFastly(SERVICE, token=TOKEN, api=fastly_api.url)
    asyncio.run(purger.tags(["parent"]))
    child = os.fork()
    if child == 0:
        try:
            done = asyncio.run(asyncio.wait_for(purger.tags(["child"]), 30))
        finally:
            os._exit(0 if "done" in locals() and done.requests == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fastly_api.purged == [("key", "parent"), ("key", "child")]


async def test_fastly_soft_and_everything(both: Both, fastly_api: purge_apis.Fastly) -> None:
    """A soft purge says so; everything is purged hard, for Fastly has it no other way."""
    purger = both.fastly(fastly_api, soft=True)
    await both(purger, "tags", ["a"])
    await both(purger, "urls", ["https://shop.example/a"])
    await both(purger, "everything")
    assert [headers.get("fastly-soft-purge") for _, _, headers in fastly_api.requests] == ["1", "1", None]
    assert fastly_api.purged[-1] == ("all", SERVICE)


async def test_nothing_to_purge_is_no_request(
    both: Both, fastly_api: purge_apis.Fastly, cloudfront_api: purge_apis.CloudFront
) -> None:
    """An empty list asks nobody."""
    assert await both(both.fastly(fastly_api), "tags", []) == Purged()
    assert await both(both.cloudfront(cloudfront_api), "urls", []) == Purged()
    assert fastly_api.requests == cloudfront_api.requests == []


async def test_cloudfront_items(both: Both, cloudfront_api: purge_apis.CloudFront) -> None:
    """Paths lose their host and are encoded once, tags get their mark, everything is one wildcard."""
    urls = ["https://cdn.example/b%C3%BC/a?x=1", "/bü", "/img/*", "https://cdn.example"]
    assert (await both(both.cloudfront(cloudfront_api), "urls", urls)).ids == ("I1",)
    await both(both.cloudfront(cloudfront_api), "tags", ["product:17", "home"])
    await both(both.cloudfront(cloudfront_api), "everything")
    assert list(cloudfront_api.invalidations.values()) == [
        ["/b%C3%BC/a?x=1", "/b%C3%BC", "/img/*", "/"], ["#product:17", "#home"], ["/*"],
    ]  # fmt: skip


async def test_cloudfront_limits(both: Both, cloudfront_api: purge_apis.CloudFront) -> None:
    """A request holds 3,000 paths at most, and 15 with a wildcard; nothing is lost between them."""
    urls = [f"/page/{number}" for number in range(3001)] + [f"/part/{number}/*" for number in range(31)]
    done = await both(both.cloudfront(cloudfront_api), "urls", urls)
    groups = list(cloudfront_api.invalidations.values())
    assert [item for group in groups for item in group] == urls
    assert [len(group) for group in groups] == [3000, 16, 15, 1]
    assert done.requests == 4


async def test_cloudfront_waits(both: Both) -> None:
    """With wait= it returns when the invalidation is complete, and says which one is not after that."""
    with purge_apis.CloudFront(polls=3) as api:
        await both(both.cloudfront(api, wait=60), "urls", ["/a"])
        assert [method for method, _, _ in api.requests] == ["POST", "GET", "GET", "GET", "GET"]
        api.polls = 10**9
        with pytest.raises(
            BackendTimeout, match="invalidation I2 of EDFDVBD6EXAMPLE was taken, but is still"
        ):
            await both(both.cloudfront(api, wait=0.01), "urls", ["/a"])


@pytest.mark.parametrize("failure", [(503, {}), (429, {"Retry-After": "0"}), None])
async def test_what_may_pass_is_tried_again(
    failure: Any, both: Both, fastly_api: purge_apis.Fastly, cloudfront_api: purge_apis.CloudFront
) -> None:
    """A busy CDN, or a lost answer, is asked again; CloudFront by the same name, so that it is done once."""
    fastly_api.script = [failure, failure]
    await both(both.fastly(fastly_api), "tags", ["a"])
    assert len(fastly_api.requests) == 3
    cloudfront_api.script = [failure, failure]
    done = await both(both.cloudfront(cloudfront_api), "urls", ["/a"])
    assert len(cloudfront_api.requests) == 3
    assert (list(cloudfront_api.invalidations.values()), done.ids) == ([["/a"]], ("I1",))


async def test_too_many_in_progress_is_tried_again(
    both: Both, cloudfront_api: purge_apis.CloudFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFront's own limit passes with time."""
    answers = iter([True, True])
    answer = cloudfront_api.answer
    monkeypatch.setattr(
        cloudfront_api,
        "answer",
        lambda *request: (
            purge_apis._error(400, "TooManyInvalidationsInProgress")
            if next(answers, False)
            else answer(*request)
        ),
    )
    await both(both.cloudfront(cloudfront_api), "urls", ["/a"])
    assert list(cloudfront_api.invalidations.values()) == [["/a"]]


async def test_the_budget_ends_it(both: Both, fastly_api: purge_apis.Fastly) -> None:
    """What does not pass within the budget is raised, and says who was asked and what it answered."""
    fastly_api.script = [(503, {})] * 100_000
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:[0-9]+ answered 503 to a purge"):
        await both(both.fastly(fastly_api, budget=0.05), "tags", ["a"])
    fastly_api.script = [(429, {"Retry-After": "31"})]
    with pytest.raises(BackendUnavailable, match="answered 429"):
        await both(both.fastly(fastly_api), "tags", ["a"])
    assert not fastly_api.script, "no second try, for it would begin after the budget"


def test_tries_and_pauses() -> None:
    """Pauses grow to ten seconds, are shorter than a limit by chance, and the CDN's own wish is kept."""
    now, slept = [0.0], []
    tries = iter([0.0] * 12 + [20.0])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    def exchange() -> Steps[str]:
        yield None
        wish = next(tries, None)
        if wish is None:
            return "done"
        raise TryAgain(BackendUnavailable("no", backend="cdn"), after=wish)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalekit.cdn.purge._FIRST_PAUSE", 0.25)
        patience = Patience(budget=1000, clock=lambda: now[0], sleep=sleep)
        assert run(patience.insist(exchange)) == "done"
    limits = [0.25, 0.5, 1, 2, 4, 8] + [10] * 6
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(slept, limits, strict=False))
    assert slept[12:] == [20.0]


@pytest.mark.parametrize(
    ("status", "cure"), [(401, "is the token right"), (404, "is the service's ID right")]
)
async def test_fastly_refuses(
    status: int, cure: str, both: Both, fastly_api: purge_apis.Fastly, caplog: pytest.LogCaptureFixture
) -> None:
    """What will not pass is raised at once with the cure; the token is in no message, log or repr."""
    caplog.set_level(logging.DEBUG)
    purger = both.fastly(fastly_api, **({"token": "wrong-" + TOKEN} if status == 401 else {}))
    if status == 404:
        purger.service = "another"
    with pytest.raises(PurgeRefused, match=cure) as raised:
        await both(purger, "tags", ["a"])
    assert raised.value.status == status
    assert len(fastly_api.requests) == 1
    assert TOKEN not in f"{raised.value!r} {caplog.text} {purger!r}"


async def test_cloudfront_refuses(
    both: Both, cloudfront_api: purge_apis.CloudFront, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown distribution is final, and the message says what to look at; no secret is logged."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PurgeRefused, match="NoSuchDistribution; is the distribution's ID right") as raised:
        await both(both.cloudfront(cloudfront_api, "EOTHER"), "urls", ["/a"])
    assert (raised.value.status, len(cloudfront_api.requests)) == (404, 1)
    assert KEYS["aws_secret_access_key"] not in caplog.text


async def test_a_client_that_was_given(cloudfront_api: purge_apis.CloudFront) -> None:
    """A client of the application's own is used, and stays open."""
    from aiobotocore.session import get_session
    from botocore.session import get_session as get_sync_session

    options = {"endpoint_url": cloudfront_api.url, "region_name": "us-east-1", **KEYS}
    sync = get_sync_session().create_client("cloudfront", **options)
    await asyncio.to_thread(CloudFront(DISTRIBUTION, client=sync).urls, ["/a"])
    sync.close()
    async with get_session().create_client("cloudfront", **options) as client:
        async with AsyncCloudFront(DISTRIBUTION, client=client) as purger:
            await purger.urls(["/b"])
        await purger.urls(["/c"])
    assert list(cloudfront_api.invalidations.values()) == [["/a"], ["/b"], ["/c"]]


async def test_no_credentials(
    both: Both, cloudfront_api: purge_apis.CloudFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials the set-up is wrong, and the message says where they come from."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    kind = CloudFront if both.colour == "sync" else AsyncCloudFront
    with pytest.raises(ConfigurationError, match="set AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        await both(kind(DISTRIBUTION, endpoint_url=cloudfront_api.url), "urls", ["/a"])


async def test_a_cdn_that_is_not_there(both: Both, fastly_api: purge_apis.Fastly) -> None:
    """No connection is a backend that cannot be reached, not a bug of the application."""
    purger = both.fastly(fastly_api, api="http://127.0.0.1:9", budget=0.01)
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:9 cannot be reached"):
        await both(purger, "tags", ["a"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Fastly(SERVICE, token=""), "token= must be an API token"),
        (lambda: Fastly(SERVICE, token="a\nb"), "is there a line break"),
        (lambda: Fastly("a/../b", token=TOKEN), "is no ID of a service"),
        (lambda: Fastly(SERVICE, token=TOKEN, api="http://api.example"), "write https://"),
        (lambda: Fastly(SERVICE, token=TOKEN, api="ftp://x"), "must be an address"),
        (lambda: Fastly(SERVICE, token=TOKEN, api="https://u:pw@x"), "user name or password"),
        (lambda: Fastly(SERVICE, token=TOKEN).urls("https://a/b"), "urls must be a list"),
        (lambda: Fastly(SERVICE, token=TOKEN).urls(["/news"]), "is no URL of a CDN"),
        (lambda: Fastly(SERVICE, token=TOKEN).urls(["https://[x/a"]), "is no URL"),
        (lambda: Fastly(SERVICE, token=TOKEN).urls(["https://bücher.example/a"]), "is no URL of a CDN"),
        (lambda: Fastly(SERVICE, token=TOKEN).tags(["two words"]), "which has spaces"),
        (lambda: Fastly(SERVICE, token=TOKEN).tags(["a\r\nFastly-Key: x"]), "control characters"),
        (lambda: Fastly(SERVICE, token=TOKEN).tags(["x" * 1025]), "1024 bytes"),
        (lambda: CloudFront(""), "the ID of one"),
        (lambda: CloudFront(DISTRIBUTION, endpoint_url="x"), "begins with http"),
        (lambda: CloudFront(DISTRIBUTION).urls(["news"]), "write it as '/news'"),
        (lambda: CloudFront(DISTRIBUTION).urls(["https://[x/a"]), "is no URL"),
        (lambda: CloudFront(DISTRIBUTION).urls(["/a*b"]), "wildcard before its end"),
        (lambda: CloudFront(DISTRIBUTION).urls(["/" + "x" * 4000]), "longer than 4000"),
        (lambda: CloudFront(DISTRIBUTION).tags(["a,b"]), "no comma"),
    ],
)  # fmt: skip
def test_bad_input(make: Any, said: str) -> None:
    """What cannot be purged is refused before anybody is asked, in words that say what to write."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        make()
    assert TOKEN not in str(raised.value)


def test_the_contract() -> None:
    """Both CDNs are what an application may be given, in either colour."""
    for purger in (Fastly(SERVICE, token=TOKEN), CloudFront(DISTRIBUTION)):
        assert isinstance(purger, Purger)
        assert not inspect.iscoroutinefunction(purger.tags)
    for other in (AsyncFastly(SERVICE, token=TOKEN), AsyncCloudFront(DISTRIBUTION)):
        assert isinstance(other, AsyncPurger)
        assert inspect.iscoroutinefunction(other.tags)
