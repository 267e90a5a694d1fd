"""A signer of models, as `model_signing sign key` of OpenSSF model signing signs them."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from minivault.models.signers import Signers, read_signers

TYPE = "application/vnd.in-toto+json"


class Signer:
    """Signs with a new key on P-256, whose public half is in `file`."""

    def __init__(self, file: Path) -> None:
        self.private, self.file = ec.generate_private_key(ec.SECP256R1()), file
        info = PublicFormat.SubjectPublicKeyInfo
        file.write_bytes(self.private.public_key().public_bytes(Encoding.PEM, info))

    @property
    def key(self) -> Signers:
        return read_signers(self.file)

    def sign(self, folder: Path, ignored: tuple[str, ...] = ("model.sig",), method: str = "files") -> None:
        """Write `model.sig`, of all files but those ignored, into their folder."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ignored)
        digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()) for path in paths}
        root = hashlib.sha256(b"".join(digest.digest() for digest in digests.values())).hexdigest()
        resources = [{"name": n, "algorithm": "sha256", "digest": d.hexdigest()} for n, d in digests.items()]
        how = {"method": method, "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(ignored)}
        self.state(
            folder,
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": folder.name, "digest": {"sha256": root}}],
                "predicateType": "https://model_signing/signature/v1.0",
                "predicate": {"serialization": how, "resources": resources},
            },
        )

    def state(self, folder: Path, statement: object) -> None:
        """Write a `model.sig` that states anything."""
        payload = json.dumps(statement).encode()
        said = f"DSSEv1 {len(TYPE)} {TYPE} {len(payload)} ".encode() + payload
        mark = base64.b64encode(self.private.sign(said, ec.ECDSA(SHA256()))).decode()
        info = PublicFormat.SubjectPublicKeyInfo
        hint = hashlib.sha256(self.private.public_key().public_bytes(Encoding.PEM, info)).hexdigest()
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": TYPE,
                "signatures": [{"sig": mark, "keyid": ""}],
            },
        }
        (folder / "model.sig").write_text(json.dumps(bundle))
