"""Whether what the vault holds is what was written, under `/vault`: the chain's light and its picture over time, one
record checked, run again or redacted.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, g

from minivault.access.caller import charge_tokens, generation_permit
from minivault.api.auditing import archive, ensure_named, own_record, settings
from minivault.api.body import decoded, read_json_body
from minivault.api.streaming import json_reply, recorder
from minivault.api.vault import time_ns
from minivault.errors import BadRequest, VaultError
from minivault.replay import replay
from minivault.vault.proof.checkpoint import checkpoints
from minivault.vault.record import Place, content_of, part_of
from minivault.vault.timeline import timeline
from minivault.vault.verdict import last_verdict, verify_and_keep
from minivault.wire.server.redaction import RedactionBody

bp = Blueprint("integrity", __name__, url_prefix="/vault")

DAY_NS = 86_400 * 10**9
NUM_SPANS = 96


@bp.get("/verify")
def verify() -> Response:
    """What the verifier says of the whole log now."""
    ensure_named()
    return json_reply(verify_and_keep(settings().log_dir, settings().run_dir, time.time_ns()))


@bp.get("/light")
def light() -> Response:
    """Where the chain stands, what the verifier last said of it, and the last signed head."""
    with archive() as opened:
        try:
            head = opened.head()
        except VaultError:  # what stands last was changed, as the verifier will say: this is what was written
            head = Place(recorder().vault_status().seq, recorder().vault_status().head)
    signed = checkpoints(settings().log_dir)
    last = {name: signed[-1][name] for name in ("seq", "hash", "timestamp")} if signed else None
    verdict = last_verdict(settings().log_dir, settings().run_dir)
    return json_reply({"seq": head.seq, "head": head.hash, "verified": verdict, "checkpoint": last})


@bp.get("/timeline")
def picture() -> Response:
    """Records by kind over time, and those that stand out; the last day where no times are given."""
    ensure_named()
    until = time_ns("until") or time.time_ns()
    since = time_ns("since")
    since = until - DAY_NS if since is None else since
    if since >= until:
        raise BadRequest("since must be before until", field="since")
    drawn = timeline(settings().log_dir, since, until, NUM_SPANS, kept_in=settings().run_dir)
    events = [asdict(event) for event in drawn.events]
    return json_reply({"since_ns": since, "until_ns": until, "counts": drawn.counts, "events": events})


@bp.get("/records/<id_or_seq>/check")
def check(id_or_seq: str) -> Response:
    """Whether one record stands as it was written, between its neighbours; nothing of what it holds."""
    try:
        found = own_record(id_or_seq)
    except VaultError as error:
        return json_reply({"verdict": "changed", "reason": error.message})
    place = {name: found[name] for name in ("id", "seq", "hash", "timestamp")}
    return json_reply({"verdict": "redacted" if "redacted" in found else "in place", **place})


@bp.post("/records/<id_or_seq>/replay")
def replay_record(id_or_seq: str) -> Response:
    """Run a recorded answer again and say whether it comes out the same; counts as a generation."""
    found = own_record(id_or_seq)
    if found["type"] != "interaction":
        raise BadRequest(f"record {found['seq']} is of type {found['type']}: interactions are replayed", field="id")
    model = recorder().roster.of_record(found)
    with generation_permit(g.caller):
        [verdict] = replay(model, [found], 1)
    charge_tokens(g.caller, len(found.get("prompt_tokens") or ()) + verdict.num_tokens)
    return json_reply(asdict(verdict))


@bp.get("/records/<id_or_seq>/redaction")
def preview(id_or_seq: str) -> Response:
    """What a redaction of a record would erase, and what would stay; nothing is done."""
    with archive() as opened:
        found = opened.show(id_or_seq)
        refused = opened.kept().refusal(found)
    return json_reply({"id": found["id"], "seq": found["seq"], **_erased(found), "refused": refused or None})


@bp.post("/records/<id_or_seq>/redaction")
def redact(id_or_seq: str) -> Response:
    """Erase what a record holds for good, or what the model thought (`"part": "reasoning"`), for a `reason`."""
    body = decoded(RedactionBody, read_json_body())
    with archive() as opened:
        place = opened.redact(id_or_seq, body.reason, body.part)
    return json_reply({"redaction": {"seq": place.seq, "hash": place.hash}})


def _erased(found: dict[str, Any]) -> dict[str, Any]:
    content, thoughts = content_of(found), part_of(found)
    kept = found.keys() - content.keys() - {"salt"}
    return {"erased": sorted(content), "part": sorted(thoughts), "kept": sorted(kept)}
