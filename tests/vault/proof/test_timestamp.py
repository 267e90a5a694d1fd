"""A timestamp authority's word on a tree head: asked, kept, believed by its certificate alone, and read by openssl."""

from __future__ import annotations

import base64
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minivault.errors import ConfigError, VaultError
from minivault.vault import verify
from minivault.vault.archive import Archive
from minivault.vault.evidence import stamped_at
from minivault.vault.proof.heads import signed_heads
from minivault.vault.proof.timestamp import bounds, head_of, query
from tests.vault.samples import check

pytest.importorskip("rfc3161_client", reason="needs the extra `timestamp`")
OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs openssl, which is the authority here")

CONFIG = """
[ tsa ]
default_tsa = here
[ here ]
dir = {directory}
serial = $dir/serial
signer_cert = $dir/tsa.pem
signer_key = $dir/tsa.key
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
[ stamping ]
extendedKeyUsage = critical,timeStamping
"""


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and under it one for timestamps."""

    directory: Path

    @property
    def root(self) -> bytes:
        return (self.directory / "ca.pem").read_bytes()

    def openssl(self, *arguments: object) -> str:
        command = [str(OPENSSL), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def answer(self, request: bytes) -> bytes:
        (self.directory / "q.tsq").write_bytes(request)
        self.openssl("ts", "-reply", "-queryfile", "q.tsq", "-config", "tsa.cnf", "-out", "q.tsr")
        return (self.directory / "q.tsr").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return made(tmp_path_factory.mktemp("authority"))


def made(directory: Path) -> Authority:
    one = Authority(directory)
    (directory / "tsa.cnf").write_text(CONFIG.format(directory=directory))
    (directory / "serial").write_text("01\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    one.openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA", "-days", 2)
    one.openssl("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Test TSA")
    issue = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "tsa.cnf", "-extensions", "stamping")
    one.openssl("x509", "-req", "-in", "tsa.csr", *issue, "-days", 2, "-out", "tsa.pem")
    return one


def stamped(archive: Archive, authority: Authority) -> bytes:
    """The response to a query for the head of now, kept in the vault."""
    with archive.proving() as prover:
        response = authority.answer(query(prover.signed))
    archive.add_timestamp(response)
    return response


def test_a_timestamp_bounds_the_time_of_all_records_before_it(archive: Archive, authority: Authority) -> None:
    response = stamped(archive, authority)
    archive.add_timestamp(response)
    [bound] = bounds(signed_heads(archive.directory), authority.root)
    assert (bound.seq, bound.fault) == (archive.head().seq, "")
    report = check(archive.directory)
    assert (report.exit_code, report.num_timestamps) == (0, 1)
    assert f"{bound.time:%Y-%m-%dT%H:%M:%SZ}" in " ".join(note.message for note in report.notes)
    assert "certificates" in " ".join(report.unproven), "evidence.py says that it does not check who"
    assert "1 timestamps" in " ".join(verify.verify(archive.directory).unproven), "verify.py, that it reads none"


def test_openssl_reads_query_and_response(archive: Archive, authority: Authority, tmp_path: Path) -> None:
    response, note = tmp_path / "head.tsr", tmp_path / "head.note"
    response.write_bytes(stamped(archive, authority))
    note.write_text(signed_heads(archive.directory)[-1].note)
    told = authority.openssl("ts", "-verify", "-in", response, "-data", note, "-CAfile", "ca.pem")
    assert "Verification: OK" in told
    note.write_text(note.read_text().replace("minivault", "minivau1t"))
    with pytest.raises(AssertionError, match="imprint"):
        authority.openssl("ts", "-verify", "-in", response, "-data", note, "-CAfile", "ca.pem")


def test_another_authority_s_word_is_not_believed(archive: Archive, authority: Authority, tmp_path: Path) -> None:
    stamped(archive, authority)
    [bound] = bounds(signed_heads(archive.directory), made(tmp_path).root)
    assert bound.fault
    with pytest.raises(ConfigError, match="PEM"):
        list(bounds(signed_heads(archive.directory), b"no certificate"))


def test_what_is_not_of_this_vault_is_not_kept(archive: Archive, authority: Authority, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("something else")
    authority.openssl("ts", "-query", "-data", data, "-sha256", "-cert", "-out", "other.tsq")
    response = authority.answer((authority.directory / "other.tsq").read_bytes())
    with pytest.raises(VaultError, match="nothing that this vault has signed"):
        archive.add_timestamp(response)
    for junk in (b"", b"junk", response[:40]):
        with pytest.raises(VaultError, match="response"):
            archive.add_timestamp(junk)


def test_a_damaged_response_is_told_as_one(archive: Archive, authority: Authority) -> None:
    response, signed = stamped(archive, authority), signed_heads(archive.directory)[-1]
    [true] = bounds([signed], authority.root)
    assert true.time is not None and not true.fault
    for at in range(len(response)):
        damaged = response[:at] + bytes([response[at] ^ 0x55]) + response[at + 1 :]
        with suppress(VaultError):
            assert head_of(damaged, [signed]) is signed
        [bound] = bounds([replace(signed, timestamps=[base64.b64encode(damaged).decode()])], authority.root)
        assert bound.fault or bound.time == true.time, at
        assert stamped_at(damaged, b"another") is None


def test_a_timestamp_moved_to_another_head_is_found(archive: Archive, authority: Authority) -> None:
    stamped(archive, authority)
    heads = archive.directory / "heads.jsonl"
    lines = heads.read_bytes().splitlines(keepends=True)
    archive.show("5")
    archive.checkpoint()
    with archive.proving() as prover:
        size = prover.signed.head.size
    old = signed_heads(archive.directory)[-2].head.size
    moved = lines[-1].replace(b'"size":%d,' % old, b'"size":%d,' % size)
    assert moved != lines[-1]
    with heads.open("ab") as file:
        file.write(moved)
    assert check(archive.directory).exit_code == 2
