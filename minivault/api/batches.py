"""`/v1/batches`: requests that are answered while nobody else waits. Each key sees its own."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, g, request

from minivault.api.body import decoded, read_json_body
from minivault.api.files import files_here, page
from minivault.api.streaming import json_reply
from minivault.batches import Batches, Folder, Kept
from minivault.batches.folder import stored_or_refused
from minivault.config import Settings
from minivault.errors import BadRequest
from minivault.wire.openai.batches import Batch, BatchBody, encode_batch

DEFAULT_PAGE, MAX_PAGE = 20, 100


def add_routes(bp: Blueprint) -> None:
    """Add them to a dialect."""
    bp.post("/batches")(create_batch)
    bp.get("/batches")(list_batches)
    bp.get("/batches/<batch_id>")(get_batch)
    bp.post("/batches/<batch_id>/cancel")(cancel_batch)


def create_batch() -> Response:
    """Begin a batch of an uploaded file; its lines are judged in the background."""
    body = decoded(BatchBody, read_json_body())
    owner, batches = g.caller.key_id, _batches()
    file = files_here().get(body.input_file_id, owner)
    if file.purpose != "batch":
        raise BadRequest(f"{file.id} has the purpose {file.purpose}, not batch", field="input_file_id")
    now = batches.folder.now_s
    batch = Batch(
        id=batches.folder.new_id("batch_"),
        endpoint=body.endpoint,
        input_file_id=file.id,
        completion_window=body.completion_window,
        created_at=now,
        expires_at=now + body.window_s,
        metadata=body.metadata,
    )
    kept = Kept(batch, owner, request.remote_addr or "", request.headers.get("User-Agent", ""))
    with stored_or_refused():
        batches.create(kept)
    return json_reply(encode_batch(batch))


def list_batches() -> Response:
    """The caller's batches, the newest first."""
    found = _batches().of_owner(g.caller.key_id)
    return page([encode_batch(batch) for batch in found], DEFAULT_PAGE, MAX_PAGE)


def get_batch(batch_id: str) -> Response:
    """How far a batch is."""
    return json_reply(encode_batch(_batches().get(batch_id, g.caller.key_id)))


def cancel_batch(batch_id: str) -> Response:
    """Make no further request of a batch; what was answered is kept."""
    with stored_or_refused():
        return json_reply(encode_batch(_batches().cancel(batch_id, g.caller.key_id)))


def _batches() -> Batches:
    settings: Settings = current_app.config["MINIVAULT"]
    return Batches(Folder(settings.batches_path))
