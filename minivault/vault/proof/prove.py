"""Proofs over the tree that stand alone: that a record is in the log (C2SP tlog-proof), and that the log only grew.

A proof carries the chained part of its record: that is what the leaf is the hash of, and nothing a person or the model
wrote is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minivault.errors import BadRequest, Unavailable, VaultError
from minivault.vault.log import Log
from minivault.vault.place import Record
from minivault.vault.proof.checkpoint import write_tree_head
from minivault.vault.proof.heads import SignedHead, last_head, signed_heads
from minivault.vault.proof.key import read_public
from minivault.vault.proof.note import encode, verifier_key
from minivault.vault.proof.tree import TREE, Tree
from minivault.vault.record import chained

PROOF = "c2sp.org/tlog-proof@v1"


class Prover:
    """Proves records under one signed head."""

    def __init__(self, tree: Tree, signed: SignedHead, public: str) -> None:
        self._tree = tree
        self.signed = signed
        self._public = public

    @property
    def verifier_key(self) -> str:
        """The vault's key as C2SP's tools take it."""
        return verifier_key(self.signed.head.origin, self._public)

    def path(self, seq: int) -> list[str]:
        """The audit path of the record at `seq`, from its sibling upwards. Raises VaultError where it is not below."""
        index = seq - self._tree.base
        if not 0 <= index < self.signed.head.size:
            raise VaultError(f"the tree of this vault begins at seq {self._tree.base}: seq {seq} has no proof")
        return [encode(node) for node in self._tree.inclusion(index, self.signed.head.size)]

    def proof(self, record: Record) -> str:
        """One record's `.tlog-proof`."""
        index, path = record["seq"] - self._tree.base, self.path(record["seq"])
        lines = [PROOF, f"extra {encode(chained(record))}", f"index {index}", *path]
        return "\n".join(lines) + f"\n\n{self.signed.cosigned}"

    def consistency(self, old: int) -> str:
        """That the tree extends the one of `old` leaves, in the form that witnesses take."""
        path = [encode(node) for node in self._tree.consistency(old, self.signed.head.size)]
        return "\n".join([f"old {old}", *path]) + f"\n\n{self.signed.cosigned}"

    def root(self, size: int) -> str:
        return encode(self._tree.root(size))


@contextmanager
def proving(
    log: Log, size: int | None = None, *, covers: int | None = None, is_patient: bool = True
) -> Iterator[Prover]:
    """A prover for the head that was signed over `size` leaves; for the last one, where that covers the record at seq
    `covers`; otherwise for the newest, which is signed now.

    Raises BadRequest where no such head was signed; unless `is_patient` Unavailable where the tree is still being made;
    VaultError, OSError.
    """
    last = None if covers is None else last_head(log.directory)
    if last is None or covers is None or not last.head.base <= covers <= last.head.last_seq:
        last = write_tree_head(log, is_patient=is_patient)
    if last is None:
        raise Unavailable("the tree over all records is still being made; try again in a minute", retry_after_s=60)
    with Tree.opened(log.directory / TREE, log.disk) as tree:
        if tree is None:
            raise VaultError(f"{log.directory / TREE} cannot be read; the next checkpoint makes it again")
        wanted = last.head.size if size is None else size
        heads = {one.head.size: one for one in signed_heads(log.directory) if one.head.origin == last.head.origin}
        if wanted not in heads:
            near = sorted(heads, key=lambda other: abs(other - wanted))[:3]
            told = ", ".join(map(str, sorted(near)))
            raise BadRequest(f"no head over {wanted} records was signed; the nearest are over {told}", field="size")
        if tree.root(wanted) != heads[wanted].head.root:
            raise VaultError(f"{log.directory / TREE} is damaged; the next checkpoint makes it again")
        yield Prover(tree, heads[wanted], read_public(log.directory))
