"""Signed URLs and cookies: checked with the public key, as CloudFront's documentation says it does."""

import json
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("botocore")
pytest.importorskip("cryptography")

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from scalekit.cdn.signed import Signer, SigningKey
from scalekit.errors import ConfigurationError

NOW = 1767286800
HOUR = 3600
ID = "K2JCJMDEHXQW5F"
URL = "https://d111111abcdef8.cloudfront.net/report.pdf"

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any, password: bytes | None = None) -> bytes:
    protection = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    )
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection))


def plain(text: str) -> bytes:
    """Out of CloudFront's Base64, which has other characters where a URL needs them."""
    return b64decode(text.translate(str.maketrans("-_~", "+=/")), validate=True)


def check(signature: str, policy: bytes, hash: str | None = "SHA256", key: Any = RSA) -> None:
    """As CloudFront does; raises ``InvalidSignature``."""
    kind = hashes.SHA256() if hash == "SHA256" else hashes.SHA1()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        key.public_key().verify(plain(signature), policy, ec.ECDSA(kind))
    else:
        key.public_key().verify(plain(signature), policy, padding.PKCS1v15(), kind)


def canned(url: str, end: int) -> bytes:
    """Character for character what the documentation has for a canned policy."""
    return b'{"Statement":[{"Resource":"%b","Condition":{"DateLessThan":{"AWS:EpochTime":%d}}}]}' % (
        url.encode(),
        end,
    )


@pytest.fixture
def signer() -> Signer:
    return Signer(SigningKey.from_pem(ID, pem(RSA)), clock=lambda: NOW + 0.9)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (URL, URL),
        (f"{URL}?page=2&x=%20", f"{URL}?page=2&x=%20"),
        ("https://media.example.com/bü cher.pdf", "https://media.example.com/b%C3%BC%20cher.pdf"),
        ("https://media.example.com", "https://media.example.com/"),
    ],
)
def test_a_canned_policy(signer: Signer, url: str, base: str) -> None:
    """What only ends has the documented parameters, and a signature of the canned policy of its very URL."""
    signed = signer.url(url, expires=HOUR)
    assert signed.startswith(base + ("&" if "?" in base else "?"))
    rest = dict(parse_qsl(signed[len(base) + 1 :]))
    assert list(rest) == ["Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"]
    assert rest["Expires"] == str(NOW + HOUR)
    assert (rest["Key-Pair-Id"], rest["Hash-Algorithm"]) == (ID, "SHA256")
    check(rest["Signature"], canned(base, NOW + HOUR))
    with pytest.raises(InvalidSignature):
        check(rest["Signature"], canned(base, NOW + HOUR + 1))


def test_a_custom_policy(signer: Signer) -> None:
    """From when, for whom and for which other URLs: the policy says it, goes along, and is what is signed."""
    signed = signer.url(
        f"{URL}?page=2",
        expires=timedelta(days=1), not_before=datetime.fromtimestamp(NOW + HOUR, UTC), ip="192.0.2.7/24",
        resource="https://d111111abcdef8.cloudfront.net/*",
    )  # fmt: skip
    rest = dict(parse_qsl(urlsplit(signed).query))
    assert list(rest) == ["page", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"]
    policy = plain(rest["Policy"])
    assert json.loads(policy) == {
        "Statement": [
            {
                "Resource": "https://d111111abcdef8.cloudfront.net/*",
                "Condition": {
                    "DateLessThan": {"AWS:EpochTime": NOW + 86400},
                    "DateGreaterThan": {"AWS:EpochTime": NOW + HOUR},
                    "IpAddress": {"AWS:SourceIp": "192.0.2.0/24"},
                },
            }
        ]
    }
    check(rest["Signature"], policy)


@pytest.mark.parametrize(
    "more",
    [{"ip": "192.0.2.7"}, {"not_before": 60}, {"resource": "https://d111111abcdef8.cloudfront.net/r*"}],
)
def test_each_condition_makes_it_custom(signer: Signer, more: dict[str, Any]) -> None:
    """A canned policy could not say it, and would be good for more."""
    rest = dict(parse_qsl(urlsplit(signer.url(URL, expires=HOUR, **more)).query))
    assert "Expires" not in rest
    (statement,) = json.loads(plain(rest["Policy"]))["Statement"]
    assert statement["Resource"] == more.get("resource", URL)
    assert statement["Condition"]["DateLessThan"]["AWS:EpochTime"] == NOW + HOUR
    if "ip" in more:
        assert statement["Condition"]["IpAddress"] == {"AWS:SourceIp": "192.0.2.7/32"}


def test_keys(signer: Signer) -> None:
    """An encrypted key, one on a curve, and a function of the application's own, as for a key service."""
    url = Signer(SigningKey.from_pem(ID, pem(RSA, b"hunter2"), password="hunter2")).url(URL, expires=60)
    rest = dict(parse_qsl(urlsplit(url).query))
    check(rest["Signature"], canned(URL, int(rest["Expires"])))
    url = Signer(SigningKey.from_pem(ID, pem(EC).decode())).url(URL, expires=60)
    rest = dict(parse_qsl(urlsplit(url).query))
    check(rest["Signature"], canned(URL, int(rest["Expires"])), key=EC)
    sha1 = SigningKey(ID, lambda message: RSA.sign(message, padding.PKCS1v15(), hashes.SHA1()))
    rest = dict(parse_qsl(urlsplit(Signer(sha1).url(URL, expires=60)).query))
    assert "Hash-Algorithm" not in rest
    check(rest["Signature"], canned(URL, int(rest["Expires"])), "SHA1")


def test_keys_are_rotated() -> None:
    """Each URL names its key, so that those of the old one are good until they end."""
    group = {"KOLD": RSA, "KNEW": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
    for name, key in group.items():
        url = Signer(SigningKey.from_pem(name, pem(key))).url(URL, expires=60)
        rest = dict(parse_qsl(urlsplit(url).query))
        check(rest["Signature"], canned(URL, int(rest["Expires"])), key=group[rest["Key-Pair-Id"]])


def parsed(cookies: list[str]) -> tuple[dict[str, str], set[str]]:
    """Names and values, and the attributes, which all have."""
    pairs = [cookie.partition("; ") for cookie in cookies]
    (attributes,) = {rest for _, _, rest in pairs}
    return dict(pair.split("=", 1) for pair, _, _ in pairs), set(attributes.split("; "))


def test_cookies_with_a_custom_policy(signer: Signer) -> None:
    """One set of cookies for all that begins alike, with the attributes that a browser wants."""
    resource = "https://media.example.com/course-7/*"
    values, attributes = parsed(
        signer.cookies(resource, expires=HOUR, domain="example.com", path="/course-7", same_site="none")
    )
    assert list(values) == [
        "CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id", "CloudFront-Hash-Algorithm",
    ]  # fmt: skip
    assert attributes == {"Path=/course-7", "Domain=example.com", "Secure", "HttpOnly", "SameSite=None"}
    policy = plain(values["CloudFront-Policy"])
    (statement,) = json.loads(policy)["Statement"]
    assert statement == {
        "Resource": resource, "Condition": {"DateLessThan": {"AWS:EpochTime": NOW + HOUR}},
    }  # fmt: skip
    check(values["CloudFront-Signature"], policy)


def test_cookies_with_a_canned_policy(signer: Signer) -> None:
    """For one URL, as documented: its end, its signature, its key."""
    values, attributes = parsed(signer.cookies(URL, expires=HOUR, secure=False, http_only=False))
    assert values["CloudFront-Expires"] == str(NOW + HOUR)
    check(values["CloudFront-Signature"], canned(URL, NOW + HOUR))
    assert attributes == {"Path=/", "SameSite=Lax"}


def test_cookies_are_removed(signer: Signer) -> None:
    """At a logout: whichever were set, under the same path and domain."""
    values, attributes = parsed(signer.expired_cookies(path="/course-7", domain="example.com"))
    assert values == {
        f"CloudFront-{name}": ""
        for name in ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
    }
    assert {"Path=/course-7", "Domain=example.com", "Max-Age=0"} <= attributes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda s: s.url("/report.pdf", expires=60), "must be a URL"),
        (lambda s: s.url("https://u:hunter2@a/b", expires=60), "user name or password"),
        (lambda s: s.url(f"{URL}#page", expires=60), "has a fragment"),
        (lambda s: s.url(s.url(URL, expires=60), expires=60), "is signed already"),
        (lambda s: s.url(f"{URL[:-4]}*", expires=60), "goes into resource="),
        (lambda s: s.url(URL, expires=0), "at least 1"),
        (lambda s: s.url(URL, expires=datetime(2030, 1, 1)), "has no time zone"),
        (lambda s: s.url(URL, expires=datetime(2020, 1, 1, tzinfo=UTC)), "is over already"),
        (lambda s: s.url(URL, expires=60, not_before=60), "never be good"),
        (lambda s: s.url(URL, expires=60, ip="2001:db8::1"), "is no IPv4 address"),
        (lambda s: s.cookies(URL, expires=60, same_site="none", secure=False), "unless secure=True"),
        (lambda s: s.cookies(URL, expires=60, domain="a;b"), "has ';'"),
        (lambda s: Signer("hunter2"), "must be a SigningKey"),
        (lambda s: SigningKey("K 1", len), "is no ID of a public key"),
        (lambda s: SigningKey(ID, "hunter2"), "sign must be a function"),
        (lambda s: SigningKey(ID, len, "MD5"), "'SHA1' or 'SHA256'"),
        (lambda s: SigningKey.from_pem(ID, "hunter2"), "it cannot be read"),
        (lambda s: SigningKey.from_pem(ID, pem(RSA, b"secret")), "another password, or none"),
        (lambda s: SigningKey.from_pem(ID, pem(RSA), password="x"), "another password, or none"),
        (lambda s: SigningKey.from_pem(ID, pem(ed25519.Ed25519PrivateKey.generate())), "openssl genrsa 2048"),
    ],
)  # fmt: skip
def test_bad_input(signer: Signer, make: Callable[[Signer], Any], said: str) -> None:
    """What CloudFront would refuse later is refused at once, and no key or password is repeated."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        make(signer)
    assert "hunter2" not in str(raised.value)


def test_nothing_shows_the_key(signer: Signer) -> None:
    """Neither has a key in its repr."""
    key = SigningKey.from_pem(ID, pem(RSA))
    assert repr(key) == f"SigningKey(id='{ID}', hash='SHA256')"
    assert repr(signer) == f"<Signer with key {ID}>"
