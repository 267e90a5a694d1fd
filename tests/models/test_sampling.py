"""What a model's makers say of how its tokens are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minivault.models.sampling import sampling_defaults


def told(directory: Path, **config: Any) -> dict[str, float]:
    (directory / "generation_config.json").write_text(json.dumps(config))
    return dict(sampling_defaults(directory))


def test_values_are_read_by_name(tmp_path: Path) -> None:
    assert sampling_defaults(tmp_path) == ()
    assert told(tmp_path, eos_token_id=[1, 2], do_sample=True) == {}
    found = told(tmp_path, temperature=1, top_k=64.0, top_p=0.95, min_p=0.05, repetition_penalty=1.05)
    assert found == {"temperature": 1.0, "top_k": 64, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.05}
    assert isinstance(found["top_k"], int)


@pytest.mark.parametrize("value", [True, "hot", -1, 2.5, [0.5], float("nan")])
def test_what_no_request_could_ask_for_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    assert told(tmp_path, temperature=value, top_p=0.5) == {"top_p": 0.5}
    assert "temperature" in caplog.text
