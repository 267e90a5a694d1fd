"""The tree over all records: its roots and proofs are RFC 6962's, it only grows, and it can be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.disk import Disk
from minivault.vault.evidence import is_included
from minivault.vault.log import Log
from minivault.vault.proof.heads import catch_up, is_behind, last_head, signed_heads
from minivault.vault.proof.tree import TREE, Tree, is_consistent, num_hashes
from minivault.vault.verify import Merkle
from tests.vault.samples import ask, check, records

Make = Callable[..., Vault]


def leaf(number: int) -> bytes:
    return hashlib.sha256(b"record %d" % number).digest()


def reference(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, as its text has it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + reference(leaves[:half]) + reference(leaves[half:])).digest()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 70 leaves, grown in steps."""
    path, disk = tmp_path_factory.mktemp("tree") / TREE, Disk()
    Tree.begin(path, 1, disk)
    for start, end in ((0, 1), (1, 6), (6, 6), (6, 33), (33, 70)):
        with Tree.opened(path, Disk()) as tree:
            assert tree is not None and tree.size == start
            tree.grow(map(leaf, range(start, end)))
    return path


def test_a_root_of_any_size_is_that_of_the_rfc(grown: Path) -> None:
    with Tree.opened(grown, Disk()) as tree:
        assert tree is not None and tree.size == 70
        streamed = Merkle()
        for size in range(71):
            assert tree.root(size) == reference([leaf(number) for number in range(size)]) == streamed.root()
            streamed.add(leaf(size))
    assert grown.stat().st_size == 32 * (1 + num_hashes(70))


@given(st.integers(1, 70), st.data())
def test_every_path_proves_its_leaf_in_its_place_and_no_other(grown: Path, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    with Tree.opened(grown, Disk()) as tree:
        assert tree is not None
        path, root = tree.inclusion(index, size), tree.root(size)
    assert is_included(leaf(index), index, size, path, root)
    assert not is_included(leaf(index + 1), index, size, path, root)
    other = data.draw(st.integers(0, size))
    assert is_included(leaf(index), other, size, path, root) == (other == index)
    assert not is_included(leaf(index), index, size, [*path, root], root)
    assert not path or not is_included(leaf(index), index, size, path[:-1], root)


@given(st.integers(0, 70), st.integers(0, 70), st.binary(min_size=32, max_size=32))
def test_every_consistency_proof_holds_for_its_two_sizes_alone(grown: Path, a: int, b: int, junk: bytes) -> None:
    old, size = sorted((a, b))
    with Tree.opened(grown, Disk()) as tree:
        assert tree is not None
        path, old_root, root = tree.consistency(old, size), tree.root(old), tree.root(size)
    assert is_consistent(old, old_root, size, root, path)
    assert not is_consistent(old, junk, size, root, path)
    assert old == 0 or not is_consistent(old, old_root, size, junk, path)
    assert not is_consistent(old, old_root, size, root, [*path, junk])


def test_a_torn_file_counts_whole_leaves_only(grown: Path, tmp_path: Path) -> None:
    data, path = grown.read_bytes(), tmp_path / TREE
    for cut in range(0, 400):
        path.write_bytes(data[: len(data) - cut])
        with Tree.opened(path, Disk()) as tree:
            assert tree is not None
            assert tree.root(tree.size) == reference([leaf(number) for number in range(tree.size)])


def fill(vault: Vault, count: int) -> None:
    for number in range(count):
        ask(vault, f"prompt {number}")


def test_heads_are_signed_over_all_records_and_verified_with_the_log(make_vault: Make, directory: Path) -> None:
    for count in (3, 5):
        vault = make_vault()
        fill(vault, count)
        vault.close()
    leaves = [bytes.fromhex(record["hash"][7:]) for record in records(directory, None)]
    heads = signed_heads(directory)
    assert [one.head.size for one in heads] == [6, len(leaves)]
    assert [one.head.root for one in heads] == [reference(leaves[: one.head.size]) for one in heads]
    report = check(directory)
    assert (report.exit_code, report.num_heads) == (0, 2)


@pytest.mark.parametrize("harm", ["removed", "emptied", "spoiled", "cut", "longer"])
def test_a_tree_file_that_was_harmed_is_made_again(make_vault: Make, directory: Path, harm: str) -> None:
    vault = make_vault()
    fill(vault, 5)
    vault.close()
    path = directory / TREE
    data = path.read_bytes()
    whole = {
        "emptied": b"",
        "spoiled": data[:64] + bytes(len(data) - 64),
        "cut": data[:-40],
        "longer": data + b"x" * 99,
    }
    path.write_bytes(whole[harm]) if harm in whole else path.unlink()
    vault = make_vault()
    fill(vault, 2)
    vault.close()
    report = check(directory)
    assert (report.exit_code, report.num_heads) == (0, 2)


def test_a_tree_goes_over_segments_redaction_and_prune(archive: Archive, directory: Path) -> None:
    before = last_head(directory)
    assert before is not None and before.head.size == archive.head().seq
    archive.redact("4", "asked for")
    assert archive.prune(0).num_records > 0
    report = check(directory)
    assert report.exit_code == 0, report.findings
    assert report.num_heads >= 1, "the heads over what was pruned are compared through the tree's own file"
    with archive.proving() as prover:
        assert prover.signed.head.size == archive.head().seq


def test_a_pruned_vault_whose_tree_is_lost_begins_another(archive: Archive, directory: Path) -> None:
    archive.prune(0)
    (directory / TREE).unlink()
    assert any("pruned" in claim for claim in check(directory).unproven)
    with archive.proving() as prover:
        base = int(prover.signed.head.origin.rsplit("/", 1)[1])
    assert base == records(directory, None)[0]["seq"]
    assert check(directory).exit_code == 0


def test_a_vault_far_behind_catches_up_beside_its_writers(archive: Archive, directory: Path) -> None:
    (directory / TREE).unlink()
    (directory / "heads.jsonl").unlink()
    assert is_behind(directory, 1)
    log = Log(directory)
    catch_up(log)
    log.close()
    head = last_head(directory)
    assert head is not None and 1 < head.head.size < archive.head().seq
    assert not is_behind(directory, head.head.size + 1)
    archive.checkpoint()
    assert check(directory).exit_code == 0


def test_a_log_that_is_not_what_was_signed_gets_no_new_head(make_vault: Make, directory: Path) -> None:
    other = directory.with_name("other")
    for place in (directory, other):
        vault = make_vault(at=place)
        fill(vault, 3)
        vault.close()
    heads = (directory / "heads.jsonl").read_bytes()
    forged = heads.replace(heads.split(b"\\n")[2], (other / "heads.jsonl").read_bytes().split(b"\\n")[2])
    (directory / "heads.jsonl").write_bytes(forged)
    assert forged != heads
    report = check(directory)
    assert report.exit_code == 2


DAMAGED = {
    "no JSON": "junk",
    "a size in words": '{"type":"head","v":1,"origin":"ORIGIN","size":"x","note":"y"}',
    "a size that is a list": '{"type":"head","v":1,"origin":"ORIGIN","size":[SIZE],"note":"y"}',
    "no note": '{"type":"head","v":1,"origin":"ORIGIN","size":SIZE}',
    "a cosignature of nothing": '{"type":"cosignature","v":1}',
    "a cosignature without its line": '{"type":"cosignature","v":1,"origin":"ORIGIN","size":SIZE}',
    "a cosignature that is none": '{"type":"cosignature","v":1,"origin":"ORIGIN","size":SIZE,"line":"x"}',
    "a timestamp that is a number": '{"type":"timestamp","v":1,"origin":"ORIGIN","size":SIZE,"response":7}',
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_line_about_heads_is_named_and_keeps_nobody_from_signing(
    archive: Archive, directory: Path, damage: str
) -> None:
    with archive.proving() as prover:
        head = prover.signed.head
    heads = directory / "heads.jsonl"
    sound = heads.read_text()
    line = DAMAGED[damage].replace("ORIGIN", head.origin).replace("SIZE", str(head.size))
    heads.write_text(f"{sound}{line}\n")
    with archive.proving() as prover:
        assert prover.signed.head == head
        assert prover.signed.cosigned == prover.signed.note
    archive.show("3")
    with archive.proving() as prover:
        assert prover.signed.head.size > head.size
    assert check(directory).exit_code == 2
    heads.write_text(sound)
    assert check(directory).exit_code == 0
