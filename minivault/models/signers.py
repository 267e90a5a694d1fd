"""Whose signatures of models count: one public key's, or those of every key that some certificates vouch for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from minivault.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate

FIELD = "MINIVAULT_MODEL_SIGNING_KEY_FILE"
_MOST_CERTIFICATES = 10
"""Of a signature, the signer's own included."""


class Signers(Protocol):
    """`path` is the file that names them; `digest` that of the key or the certificates in it (DER), `sha256:` and 64
    hex digits."""

    @property
    def path(self) -> Path: ...
    @property
    def digest(self) -> str: ...

    def key(self, material: Mapping[str, Any]) -> EllipticCurvePublicKey:
        """The key that a bundle with this `verificationMaterial` must be signed with. Raises ValueError where nobody
        vouches for it, and what malformed JSON raises."""
        ...


@dataclass(frozen=True, slots=True)
class OneKey:
    path: Path
    digest: str
    public: EllipticCurvePublicKey

    def key(self, _material: Mapping[str, Any]) -> EllipticCurvePublicKey:
        return self.public


@dataclass(frozen=True, slots=True)
class Certified:
    """Signers with a certificate that leads to one of `roots`. It counts as of the day when it began to be valid, since
    nobody says when a model was signed."""

    path: Path
    digest: str
    roots: tuple[Certificate, ...]

    def key(self, material: Mapping[str, Any]) -> EllipticCurvePublicKey:
        from cryptography.x509 import load_der_x509_certificate
        from cryptography.x509.verification import VerificationError

        if "x509CertificateChain" not in material:
            raise ValueError("it was made with a key, and no certificate is in it")
        chain = material["x509CertificateChain"]["certificates"]
        if not 0 < len(chain) <= _MOST_CERTIFICATES:
            raise ValueError(f"it has {len(chain)} certificates")
        own, *others = (load_der_x509_certificate(base64.b64decode(one["rawBytes"], validate=True)) for one in chain)
        try:
            _verifier(own, self.roots).verify(own, others)
        except VerificationError:
            named = own.subject.rfc4514_string()[:200]
            raise ValueError(f"no certificate in {self.path} vouches for that of {named}") from None
        return _ensure_suited(own.public_key(), "its certificate")


def _verifier(own: Certificate, roots: tuple[Certificate, ...]) -> Any:
    """Of certificates whose key may sign."""
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

    def may_sign(_policy: Any, _certificate: Any, usage: x509.KeyUsage | None) -> None:
        if usage is None or not usage.digital_signature:
            raise ValueError("it may not sign")

    signs = ExtensionPolicy.permit_all().require_present(x509.KeyUsage, Criticality.AGNOSTIC, may_sign)
    authorities = ExtensionPolicy.webpki_defaults_ca()
    policy = PolicyBuilder().store(Store(list(roots))).time(own.not_valid_before_utc)
    return policy.extension_policies(ca_policy=authorities, ee_policy=signs).build_client_verifier()


def hashes() -> Mapping[str, Any]:
    """What is hashed with on each curve, by its name."""
    from cryptography.hazmat.primitives import hashes

    return {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}


def read_signers(path: Path) -> Signers:
    """Of a PEM file: a public key, or certificates. Raises ConfigError for one that cannot be read or holds neither."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificates

    try:
        data = path.read_bytes()
        if b"-----BEGIN CERTIFICATE-----" in data:
            roots = tuple(load_pem_x509_certificates(data))
            return Certified(path, _digest(b"".join(root.public_bytes(Encoding.DER) for root in roots)), roots)
        key = _ensure_suited(load_pem_public_key(data), str(path))
        return OneKey(path, _digest(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), key)
    except OSError as error:
        raise ConfigError(f"{FIELD}={str(path)!r} cannot be read: {error.strerror or error}", field=FIELD) from None
    except (ValueError, UnsupportedAlgorithm):
        wanted = f"a public key in PEM on one of the curves {', '.join(hashes())}, or certificates, are wanted"
        raise ConfigError(f"{FIELD}: {path} holds no key that signs models: {wanted}", field=FIELD) from None


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _ensure_suited(key: Any, whose: str) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in hashes():
        raise ValueError(f"the key of {whose} is on none of the curves {', '.join(hashes())}")
    return key
