"""Pydantic's verdict on one value, in our own words, so that no reply and no message speaks of a library.

`reason` says what a value must be; whoever asks puts the field in front. The value itself is shown only where it is
short and plain: never an object or a list, which may be the whole of a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_SHOWN_CHARACTERS = 60
OTHERWISE = "is not what this field takes"
JSON_WORDS = {"True": "true", "False": "false", "None": "null"}
_PYTHON = re.compile(r"\b(True|False|None)\b")

REASONS = {
    "string_type": "must be a string",
    "string_sub_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be a smaller integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "list_type": "must be an array",
    "tuple_type": "must be an array",
    "set_type": "must be an array",
    "too_short": "must have at least {min_length} entries, not {actual_length}",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "union_tag_not_found": "must be an object with {discriminator}",
    "union_tag_invalid": "must have {discriminator} as one of {expected_tags}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "none_required": "must be null",
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "path_type": "must be a path",
    "value_error": "{error}",
    "assertion_error": "{error}",
}
"""By the type of the fault. What is not listed is told as OTHERWISE."""


def reason(fault: Mapping[str, Any]) -> str:
    """What is wrong with a value, as the rest of a sentence; `fault` is one of `ValidationError.errors()`."""
    template = REASONS.get(fault["type"], OTHERWISE)
    try:
        told = template.format_map({name: _number(value) for name, value in fault.get("ctx", {}).items()})
    except KeyError:
        return OTHERWISE
    told = told.replace(" 1 characters", " 1 character").replace(" 1 entries", " 1 entry")
    return told if fault["type"] == "value_error" else _PYTHON.sub(lambda match: JSON_WORDS[match[0]], told)


def shown(value: object) -> str:
    """A value as JSON where it is short and plain, else nothing."""
    if value is not None and not isinstance(value, bool | int | float | str):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else ""


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
