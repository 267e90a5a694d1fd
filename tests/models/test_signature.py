"""Signed models: what the tool of OpenSSF model signing has signed is taken, and anything else is refused by name.

`signed/` holds a folder and three signatures of it that the tool itself (model-signing 1.1.1) has made, with their
keys; one is by a certificate, which was valid for a day, and its key the root that vouches for it by way of another.
"""

from __future__ import annotations

import base64
import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from minivault.errors import ConfigError, ModelError
from minivault.models import ModelStore
from minivault.models.signature import Signature, check_signature, paths_below
from minivault.models.signers import read_signers
from tests.models import hub as hubs
from tests.models.signing import Signer
from tests.models.test_fetch_hub import NAME, hub  # noqa: F401

SIGNED = Path(__file__).with_name("signed")
PEMS = ("PUBLIC KEY", "CERTIFICATE")
CURVES = ("prime256v1", "secp384r1", "certificate")


@pytest.fixture(params=CURVES)
def curve(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(tmp_path: Path, curve: str) -> Path:
    folder = Path(shutil.copytree(SIGNED / "model", tmp_path / "model"))
    shutil.copy(SIGNED / f"{curve}.sig", folder / "model.sig")
    return folder


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path / "signer.pub")


def check(folder: Path, key_file: Path | None) -> Signature | None:
    names = paths_below(folder)
    return check_signature(folder, read_signers(key_file) if key_file else None, "it", names, names)


def test_what_the_tool_has_signed_is_verified(model: Path, curve: str) -> None:
    key_file = SIGNED / f"{curve}.pub"
    found = check(model, key_file)
    assert found == Signature("sha256:" + hubs.digest(model / "model.sig"), read_signers(key_file).digest)


def test_without_a_key_a_signature_is_noted_as_unverified(model: Path) -> None:
    (model / "config.json").write_text("{}")
    found = check(model, None)
    assert found == Signature("sha256:" + hubs.digest(model / "model.sig"))
    assert str(found).endswith(", unverified")


def test_a_model_without_a_signature_has_none(model: Path, curve: str) -> None:
    (model / "model.sig").unlink()
    assert check(model, SIGNED / f"{curve}.pub") is None


def test_another_key_is_refused(model: Path, signer: Signer) -> None:
    with pytest.raises(ModelError, match=r"model\.sig of it cannot be verified .*not signed with the key in .*signer"):
        check(model, signer.file)


def certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, by: tuple[str, ec.EllipticCurvePrivateKey], *, signs: bool, ca: bool
) -> x509.Certificate:
    """Valid for a year from now on; `by` is who issues it."""
    named, now = (lambda name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])), datetime.now(UTC)
    given = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
    usage = x509.KeyUsage(**given | {"digital_signature": signs, "key_cert_sign": ca, "content_commitment": True})
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by[1].public_key())
    builder = x509.CertificateBuilder(named(by[0]), named(subject), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=365))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    return builder.sign(by[1], SHA256())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"signs": False}, r"no certificate in .*roots vouches for that of CN=publisher"),
        ({"by": "somebody"}, r"no certificate in .*roots vouches for that of CN=publisher"),
        ({"is_alone": True}, r"made with a key, and no certificate"),
        ({"key": "another"}, r"not signed with the key"),
        ({"num": 0}, r"it has 0 certificates"),
        ({"num": 11}, r"it has 11 certificates"),
    ],
)
def test_a_certificate_counts_that_a_root_vouches_for_and_that_may_sign(
    change: dict[str, Any], told: str | None, tmp_path: Path, signer: Signer
) -> None:
    folder = Path(shutil.copytree(SIGNED / "model", tmp_path / "model"))
    root = ec.generate_private_key(ec.SECP256R1())
    issuer = ec.generate_private_key(ec.SECP256R1()) if "by" in change else root
    key = ec.generate_private_key(ec.SECP256R1()) if "key" in change else signer.private
    top = certificate("root", root, ("root", root), signs=False, ca=True)
    own = certificate("publisher", key, ("root", issuer), signs=change.get("signs", True), ca=False)
    (tmp_path / "roots").write_bytes(top.public_bytes(Encoding.PEM))
    signer.sign(folder)
    if "is_alone" not in change:
        bundle = json.loads((folder / "model.sig").read_text())
        raw = base64.b64encode(own.public_bytes(Encoding.DER)).decode()
        chain = {"certificates": [{"rawBytes": raw}] * change.get("num", 1)}
        bundle["verificationMaterial"] = {"x509CertificateChain": chain, "tlogEntries": []}
        (folder / "model.sig").write_text(json.dumps(bundle))
    if told is None:
        found = check(folder, tmp_path / "roots")
        assert found is not None and found.key == read_signers(tmp_path / "roots").digest
    else:
        with pytest.raises(ModelError, match=told):
            check(folder, tmp_path / "roots")


def link(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "config.json")
    (folder / "config.json").symlink_to(folder.parent / "config.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda folder: (folder / "original/params.txt").write_text("other"),
            r"original/params\.txt of it is not what",
        ),
        (lambda folder: (folder / "original/params.txt").unlink(), r"it lacks original/params\.txt"),
        (lambda folder: (folder / "original/more.txt").touch(), r"it has original/more\.txt, which is not signed"),
        (link, r"config\.json of it is not what"),
        (lambda folder: (folder / "model.sig").write_text("{}"), r"model\.sig of it cannot be verified"),
        (lambda folder: (folder / "model.sig").write_bytes(b"\xff"), r"model\.sig of it cannot be verified"),
    ],
    ids=["changed", "missing", "extra", "link", "no signature", "no text"],
)
def test_what_was_not_signed_is_refused_by_its_name(
    model: Path, curve: str, change: Callable[[Path], object], told: str
) -> None:
    change(model)
    with pytest.raises(ModelError, match=told):
        check(model, SIGNED / f"{curve}.pub")


def test_what_git_needs_is_not_part_of_a_model(model: Path, curve: str) -> None:
    (model / ".git").mkdir()
    for name in (".gitattributes", ".git/HEAD"):
        (model / name).write_text("git's")
    assert check(model, SIGNED / f"{curve}.pub")


def test_what_its_signer_left_out_is_not_part_of_a_model(tmp_path: Path, signer: Signer) -> None:
    folder = Path(shutil.copytree(SIGNED / "model", tmp_path / "model"))
    signer.sign(folder, ("model.sig", "params.txt", "original"))
    (folder / "original/more.txt").touch()
    assert check(folder, signer.file)


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", "its _type is"),
        ("predicateType", "https://slsa.dev/provenance/v1", "its predicateType is"),
        ("subject", [{"name": "m", "digest": {"sha256": "0" * 64}}], "do not agree"),
        ("predicate", {"serialization": {"method": "shards"}, "resources": []}, "no SHA-256 of whole files"),
        ("predicate", {}, "KeyError"),
    ],
)
def test_a_statement_of_another_kind_is_refused(
    part: str, value: object, told: str, tmp_path: Path, signer: Signer
) -> None:
    kind = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://model_signing/signature/v1.0"}
    how = {"serialization": {"method": "files"}, "resources": []}
    signer.state(tmp_path, kind | {"subject": [], "predicate": how} | {part: value})
    with pytest.raises(ModelError, match=told):
        check(tmp_path, signer.file)


@pytest.mark.parametrize("text", ["", "no key", *(f"-----BEGIN {k}-----\nAAAA\n-----END {k}-----\n" for k in PEMS)])
def test_a_file_without_a_key_is_refused_by_its_setting(text: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text)
    for path in (tmp_path / "key", tmp_path / "absent"):
        with pytest.raises(ConfigError, match="MINIVAULT_MODEL_SIGNING_KEY_FILE"):
            read_signers(path)


def test_a_signed_repository_is_verified_when_it_is_pulled(hub: hubs.Hub, store: ModelStore, signer: Signer) -> None:  # noqa: F811
    (hub.files / "README.md").write_text("not fetched")
    signer.sign(hub.files)
    unverified = store.pull(NAME).signature
    assert unverified is not None and unverified.key == ""
    verifying = replace(store, signing_key=signer.key)
    files = verifying.pull(NAME)
    assert files.signature == replace(unverified, key=signer.key.digest)
    assert files == store.resolve(NAME, verify=True)
    hub.seen.clear()
    assert verifying.pull(NAME) == files
    assert hub.fetched == set()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda files: (files / "vocab.json").write_text("{}"), "vocab.json of hub .* is not what was signed"),
        (lambda files: (files / "merges.txt").unlink(), "hub .* lacks merges.txt"),
        (lambda files: (files / "modeling.py").touch(), "hub .* has modeling.py, which is not signed"),
    ],
)
def test_a_repository_that_is_not_what_was_signed_is_not_kept(
    hub: hubs.Hub,  # noqa: F811
    store: ModelStore,
    signer: Signer,
    change: Callable[[Path], object],
    told: str,
) -> None:
    signer.sign(hub.files)
    change(hub.files)
    with pytest.raises(ModelError, match=told):
        replace(store, signing_key=signer.key).pull(NAME)
    assert store.list() == []


def test_a_signed_directory_is_verified_when_its_signature_or_the_key_is_new(
    distilgpt2: Path, store: ModelStore, signer: Signer, tmp_path: Path
) -> None:
    verifying = replace(store, signing_key=signer.key)
    assert verifying.pull(str(distilgpt2)).signature is None
    signer.sign(distilgpt2)
    assert str(store.pull(str(distilgpt2)).signature).endswith(", unverified")
    files = verifying.pull(str(distilgpt2))
    assert files.signature is not None and files.signature.key == signer.key.digest
    assert store.resolve(str(distilgpt2)) == files
    another = Signer(tmp_path / "another.pub")
    with pytest.raises(ModelError, match="is not signed with the key"):
        replace(store, signing_key=another.key).resolve(str(distilgpt2))


def test_a_verified_directory_that_changes_is_refused(distilgpt2: Path, store: ModelStore, signer: Signer) -> None:
    signer.sign(distilgpt2)
    verifying = replace(store, signing_key=signer.key)
    verifying.pull(str(distilgpt2))
    (distilgpt2 / "generation_config.json").write_text('{"temperature": 0.1}')
    with pytest.raises(ModelError, match=r"generation_config\.json of directory .* is not what was signed"):
        verifying.resolve(str(distilgpt2))
