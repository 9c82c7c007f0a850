"""Signing by a private key in PEM, with ``cryptography``."""

from collections.abc import Callable

from scalekit.errors import ConfigurationError, MissingExtra

try:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError:
    raise MissingExtra("encryption", needed_by="a signing key in PEM") from None

_LEAST_BITS = 2048


def signer(pem: bytes, password: bytes | None) -> Callable[[bytes], bytes]:
    """A function that signs with SHA-256: RSA with PKCS #1 v1.5, or ECDSA on P-256, as CloudFront takes them.

    Raises:
        ConfigurationError: it is no private key, its password is wrong, or CloudFront takes no such key.
    """
    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError) as error:
        # The cause is left out: it may quote what it was given.
        reason = "it needs another password, or none" if "ncrypted" in str(error) else "it cannot be read"
        raise ConfigurationError(f"pem= is no private key in PEM: {reason}") from None
    if isinstance(key, RSAPrivateKey) and key.key_size >= _LEAST_BITS:
        return lambda message: key.sign(message, PKCS1v15(), SHA256())
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return lambda message: key.sign(message, ECDSA(SHA256()))
    raise ConfigurationError(
        "pem= is a private key that CloudFront does not take; make one with 'openssl genrsa 2048', or "
        "'openssl ecparam -name prime256v1 -genkey -noout'"
    )
