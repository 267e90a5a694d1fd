"""Signatures of OpenSSF model signing: `model.sig` beside a model's files, verified with its signer's public key.

The file is a Sigstore bundle in JSON: a DSSE envelope (v1) around an in-toto statement (predicate
`https://model_signing/signature/v1.0`) that lists each file's path and SHA-256. Verified are signatures made with an
elliptic curve key (`model_signing sign key` and `sign certificate`) over whole files; as for that tool, a file that is
missing, differs, or is there and not signed makes a model another than was signed, except for paths that its signer or
git's use excludes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from minivault.errors import ModelError
from minivault.models.digest import sha256_file
from minivault.models.signers import FIELD, Signers, hashes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

NAME = "model.sig"
_NEVER_SIGNED = (NAME, ".git", ".gitattributes", ".github", ".gitignore")
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """What is kept of one: the digest of `model.sig`, and that of the public key, or of the certificates, that it was
    verified with; empty where it was not. Both `sha256:` and 64 hex digits."""

    digest: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.digest}, {f'verified with the key {self.key}' if self.key else 'unverified'}"


def check_signature(
    folder: Path, signers: Signers | None, whose: str, names: Collection[str], present: Collection[str]
) -> Signature | None:
    """The signature in `folder`, verified if `signers` are given; None where there is none.

    `names` are the paths of all of the model's files, `present` those whose bytes are in `folder` to be compared.
    Raises ModelError, naming the file, for a model that is not what was signed or cannot be verified."""
    path = folder / NAME
    if not path.is_symlink() and not path.exists():
        return None
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LIMIT_BYTES:
        raise ModelError(f"{NAME} of {whose} is a link or no regular file, or too large; get the model again")
    data = path.read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if signers is None:
        return Signature(digest)
    try:
        bundle = json.loads(data)
        key = signers.key(bundle["verificationMaterial"])
        signed, ignored = _stated(_verified(bundle["dsseEnvelope"], key, signers))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        told = f"{NAME} of {whose} cannot be verified ({type(error).__name__}: {error})"
        raise ModelError(f"{told}; get it again, or unset {FIELD} to use it unverified") from None
    _compare(folder, signed, {name for name in names if not _is_below(name, ignored)}, present, whose)
    return Signature(digest, signers.digest)


def paths_below(directory: Path) -> list[str]:
    """Every file, and every link, below a directory, by its path in it."""
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return [path.relative_to(directory).as_posix() for path in found]


def _verified(envelope: Mapping[str, Any], key: EllipticCurvePublicKey, signers: Signers) -> Mapping[str, Any]:
    """The statement in an envelope that the key has signed. DSSE signs the type and the payload, each with its size."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    kind, payload = str(envelope["payloadType"]), base64.b64decode(envelope["payload"], validate=True)
    (signature,) = envelope["signatures"]
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)
    try:
        mark = base64.b64decode(signature["sig"], validate=True)
        key.verify(mark, encoded, ECDSA(hashes()[key.curve.name]))
    except InvalidSignature:
        raise ValueError(f"it is not signed with the key in {signers.path}") from None
    if kind != _PAYLOAD:
        raise ValueError(f"its payload is {kind[:80]!r}, not {_PAYLOAD}")
    statement: Mapping[str, Any] = json.loads(payload)
    return statement


def _stated(statement: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """SHA-256 in hex by path, and the paths that were left out."""
    for name, known in (("_type", _STATEMENT), ("predicateType", _PREDICATE)):
        if statement[name] != known:
            raise ValueError(f"its {name} is {str(statement[name])[:80]!r}, not {known}")
    predicate = statement["predicate"]
    how, resources = predicate["serialization"], predicate["resources"]
    if how["method"] != "files" or any(one["algorithm"] != "sha256" for one in resources):
        raise ValueError("it signs no SHA-256 of whole files")
    signed = {str(one["name"]): str(one["digest"]).lower() for one in resources}
    (subject,) = statement["subject"]
    root = hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
    if len(signed) != len(resources) or subject["digest"]["sha256"] != root:
        raise ValueError("its digests do not agree with each other")
    return signed, (*_NEVER_SIGNED, *map(str, how.get("ignore_paths", ())))


def _is_below(name: str, places: Collection[str]) -> bool:
    return any(PurePosixPath(name).is_relative_to(place) for place in places)


def _compare(
    folder: Path, signed: Mapping[str, str], names: Collection[str], present: Collection[str], whose: str
) -> None:
    advice = f"it is not the model that {NAME} signs: get it again, or do not use it"
    if missing := sorted(signed.keys() - names):
        raise ModelError(f"{whose} lacks {missing[0]}; {advice}")
    if extra := sorted(names - signed.keys()):
        raise ModelError(f"{whose} has {extra[0]}, which is not signed; {advice}")
    for name in sorted(signed.keys() & set(present)):
        path = folder / name
        if path.is_symlink() or sha256_file(path) != signed[name]:
            raise ModelError(f"{name} of {whose} is not what was signed; {advice}")
