"""`/v1/files`: the requests of batches come in, and what came of them goes out. Each key sees its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from flask import Blueprint, Response, current_app, g, request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser

from minivault.api.body import LengthRequired
from minivault.api.streaming import json_reply
from minivault.batches import Files, Folder, Upload
from minivault.batches.folder import stored_or_refused
from minivault.config import Settings
from minivault.errors import BadRequest, BodyTimeout, MiniVaultError, TooLarge, UnsupportedMediaType
from minivault.wire.openai.batches import FileObject, UploadForm, encode_deleted, encode_file, encode_page
from minivault.wire.validation import validated

FORM = "multipart/form-data"
MAX_FIELD_BYTES = 64 << 10
MAX_FIELDS = 16
MAX_NAME = 255
MAX_PAGE = 10_000
PIECE_BYTES = 1 << 18


def add_routes(bp: Blueprint) -> None:
    """Add them to a dialect."""
    bp.post("/files")(create_file)
    bp.get("/files")(list_files)
    bp.get("/files/<file_id>")(get_file)
    bp.get("/files/<file_id>/content")(get_content)
    bp.delete("/files/<file_id>")(delete_file)


def create_file() -> Response:
    """Take a file in: `file`, and `purpose`, which is `batch`."""
    settings: Settings = current_app.config["MINIVAULT"]
    _ensure_form(settings)
    files, uploads = files_here(), list[Upload]()

    def begin(*_: object, **__: object) -> IO[bytes]:
        if uploads:
            raise BadRequest("send one file", field="file")
        with stored_or_refused():
            uploads.append(files.begin(settings.max_file_mb << 20))
        return uploads[0]  # type: ignore[return-value] # it can be written to, which is all that is done

    try:
        with stored_or_refused():
            form, sent = _parse(begin)
            validated(UploadForm, {key: form[key] for key in form})
            file = _the_file(sent)
            _ensure_room(files, uploads[0], settings)
            kept = files.keep(uploads[0], g.caller.key_id, (file.filename or "file")[:MAX_NAME])
    finally:
        for upload in uploads:
            upload.discard()
    return json_reply(encode_file(kept))


def list_files() -> Response:
    """The caller's files, the newest first."""
    found = files_here().of_owner(g.caller.key_id, request.args.get("purpose"))
    order = request.args.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc", field="order")
    return page([encode_file(file) for file in found], MAX_PAGE, MAX_PAGE, is_descending=order == "desc")


def get_file(file_id: str) -> Response:
    """One file's facts."""
    return json_reply(encode_file(_get(file_id)))


def get_content(file_id: str) -> Response:
    """One file's bytes."""
    file = _get(file_id)
    opened = files_here().open(file_id, g.caller.key_id)
    response = Response(_pieces(opened), content_type="application/octet-stream")
    response.content_length = file.bytes
    response.call_on_close(opened.close)
    return response


def delete_file(file_id: str) -> Response:
    """Remove a file for good."""
    with stored_or_refused():
        files_here().delete(file_id, g.caller.key_id)
    return json_reply(encode_deleted(file_id))


def files_here() -> Files:
    """The files of this server."""
    settings: Settings = current_app.config["MINIVAULT"]
    return Files(Folder(settings.batches_path))


def page(objects: list[dict[str, Any]], default: int, most: int, *, is_descending: bool = True) -> Response:
    """The part of a list, oldest first, that `limit` and `after` ask for."""
    text, after = request.args.get("limit", str(default)), request.args.get("after")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
        raise BadRequest(f"limit must be a number from 1 to {most}", field="limit")
    limit, ordered = int(text), objects[::-1] if is_descending else objects
    if after is not None:
        ids = [value["id"] for value in ordered]
        if after not in ids:
            raise BadRequest(f"after must be an id of this list, not {after[:64]!r}", field="after")
        ordered = ordered[ids.index(after) + 1 :]
    return json_reply(encode_page(ordered[:limit], has_more=len(ordered) > limit))


def _get(file_id: str) -> FileObject:
    return files_here().get(file_id, g.caller.key_id)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _ensure_form(settings: Settings) -> None:
    length = request.content_length
    if request.mimetype != FORM:
        raise UnsupportedMediaType(f"send the file as {FORM}", field="Content-Type")
    if request.content_encoding:
        raise UnsupportedMediaType("send the file as it is, without a Content-Encoding", field="Content-Encoding")
    if length is None and not request.environ.get("wsgi.input_terminated"):
        raise LengthRequired("send a Content-Length with the body", field="Content-Length")
    if length is not None and length > settings.max_upload_bytes:
        raise TooLarge(f"the file is larger than {settings.max_file_mb} MiB (MINIVAULT_MAX_FILE_MB)")


def _parse(begin: Any) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
    """The form's fields and files; each file is written to what `begin` gives as it is read."""
    parser = FormDataParser(begin, max_form_memory_size=MAX_FIELD_BYTES, max_form_parts=MAX_FIELDS, silent=False)
    try:
        _, form, sent = parser.parse(request.stream, FORM, request.content_length, request.mimetype_params)
    except MiniVaultError:
        raise
    except TimeoutError:
        raise BodyTimeout("the body did not arrive in time") from None
    except HTTPException as error:
        raise BadRequest(f"the form cannot be read: {error.name}") from None
    except ValueError as error:
        raise BadRequest(f"the form cannot be read: {error}") from None
    return form, sent


def _the_file(sent: MultiDict[str, FileStorage]) -> FileStorage:
    if list(sent) != ["file"]:
        raise BadRequest("send the file in the form's field `file`", field="file")
    return sent["file"]


def _ensure_room(files: Files, upload: Upload, settings: Settings) -> None:
    if files.num_uploaded_bytes() + upload.num_bytes > settings.max_files_mb << 20:
        raise TooLarge(
            f"the files here would take more than {settings.max_files_mb} MiB together (MINIVAULT_MAX_FILES_MB): "
            "delete some that are no longer needed"
        )
