"""A response made anew from a record is the one that was given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minivault.errors import NotFound
from minivault.wire.openai.envelope import Envelope, created_s
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_kept import Recorded, kept
from minivault.wire.openai.response_reply import ResponseReply
from minivault.wire.validation import validated
from tests.wire.test_replies import finished

ID = "01a21992-a2aa-71a0-aa23-b034085a16e3"
BODY = {"model": "m", "input": "x"}


def record(**changes: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 1, "total_tokens": 7}
    fields = {"id": ID, "request": json.dumps(BODY), "response": "Hi", "error": None, "finish_reason": "stop"}
    return fields | {"usage": usage, "fingerprint": "mv1:0"} | changes


def again(**changes: Any) -> dict[str, Any]:
    return kept(f"resp_{ID}", lambda _id: record(**changes)).response


@pytest.mark.parametrize("reason", ["stop", "length", "cancelled", "deadline"])
def test_it_is_what_was_given_thought_and_all(reason: Any) -> None:
    envelope = Envelope(ID, "m", "mv1:0", created_s(ID))
    given = ResponseReply(envelope, validated(ResponseBody, BODY)).whole([Recorded("Hi", "Hm.", finished(reason))])
    assert again(reasoning="Hm.", finish_reason=reason) == given


def test_one_that_was_interrupted_has_failed() -> None:
    error = {"code": "interrupted", "message": "the process that gave this answer ended before it"}
    response = again(finish_reason=None, error=error, usage={"prompt_tokens": 5})
    assert (response["status"], response["error"]) == ("failed", error)
    assert response["output"][0]["content"][0]["text"] == "Hi"
    assert again(finish_reason=None, error=error, response="")["output"] == []


def test_one_whose_request_is_not_understood_any_more_is_not_found() -> None:
    with pytest.raises(NotFound):
        again(request=json.dumps(BODY | {"model": 5}))


def test_its_id_says_when_it_was_asked_for() -> None:
    assert created_s(ID) == 0x01A21992A2AA // 1000
