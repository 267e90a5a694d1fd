"""What cannot be served is refused in one line, and a weights file is whole or absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivault.engine import exact
from minivault.errors import ModelError
from tests.engine.exact import checkpoints
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import tokens

QUERY = "model.layers.1.self_attn.q_proj.weight"


def changed(value: Any, name: str = QUERY) -> dict[str, Any]:
    values = checkpoints.tensors("llama")[name].copy()
    values.flat[7] = value
    return {name: values}


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (changed(np.nan), r"layers\.1\.self_attn\.q_proj\.weight holds NaN or infinite"),
        (changed(np.inf, "model.norm.weight"), r"norm\.weight holds NaN or infinite"),
        (
            {QUERY: np.zeros((64, 60), np.float32)},
            r"q_proj\.weight has shape \(64, 60\); the config asks for \(64, 64\)",
        ),
        ({QUERY: np.zeros((64, 64), np.int64)}, r"q_proj\.weight has type I64"),
        ({QUERY: np.zeros((64, 64), np.float32) + np.float32(3e38)}, r"q_proj\.weight .*too large"),
    ],
)
def test_a_bad_tensor_is_named(wrong: dict[str, Any], line: str, tmp_path: Path) -> None:
    directory = checkpoints.write("llama", tmp_path / "model", wrong)
    with pytest.raises(ModelError, match=line):
        exact.prepare_checkpoint(directory, tmp_path / "out.exact")
    assert not list(tmp_path.glob("out*"))


def test_progress_counts_to_its_end(tmp_path: Path) -> None:
    seen = list[tuple[int, int]]()
    directory = checkpoints.write("llama", tmp_path / "model")
    exact.prepare_checkpoint(directory, tmp_path / "out.exact", lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not one"),
        (checkpoints.CONFIGS["llama"] | {"hidden_act": "tanh"}, "activation 'tanh'"),
        (checkpoints.CONFIGS["llama"] | {"head_dim": 15}, "15 numbers of a head are turned, which is odd"),
    ],
)
def test_a_config_that_is_not_served_is_told_why(config: dict[str, Any], line: str) -> None:
    assert line in str(exact.why_not(config))


@pytest.mark.parametrize("variant", checkpoints.VARIANTS)
def test_known_configs_are_served(variant: str) -> None:
    assert exact.why_not(checkpoints.CONFIGS[variant]) is None


@pytest.mark.parametrize("damage", [b"", b"minivault", b"x" * 100])
def test_no_weights_file_is_told(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.exact"
    path.write_bytes(damage)
    with pytest.raises(ModelError, match="is not a prepared model"):
        exact.load(path, num_slots=1, context=32)


def test_a_format_of_an_earlier_version_is_told(load: Loader, tmp_path: Path) -> None:
    now = load.prepared("llama").read_bytes()
    before = now.replace(b'"format": 2', b'"format": 4')
    assert before != now
    (tmp_path / "model.exact").write_bytes(before)
    with pytest.raises(ModelError, match="pull or prepare the model again"):
        exact.load(tmp_path / "model.exact", num_slots=1, context=32)


def test_a_cut_weights_file_is_told(load: Loader, tmp_path: Path) -> None:
    whole = load.prepared("llama").read_bytes()
    (tmp_path / "cut.exact").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut short"):
        exact.load(tmp_path / "cut.exact", num_slots=1, context=32)


def test_a_full_cache_is_an_error_of_that_pass_alone(load: Loader) -> None:
    runner = load.open(load.prepared("llama"), num_slots=3, cache_bytes=10 * load("llama").cache.block_bytes)
    first = runner.every_logit(tokens(320))
    with pytest.raises(ModelError, match="all 10 blocks of 32 cached tokens are in use"):
        for slot in range(3):
            runner.forward([exact_chunk(slot)])
    for slot in range(3):
        runner.release(slot)
    assert runner.every_logit(tokens(320)).tobytes() == first.tobytes()
    runner.close()


def exact_chunk(slot: int) -> Any:
    from minivault.engine.runner import Chunk

    return Chunk(slot, tokens(200), 0, is_prompt=True)


def test_a_released_slot_holds_nothing_of_its_past(load: Loader) -> None:
    runner = load("llama")
    runner.forward([exact_chunk(0)])
    assert runner.cache.halves.any()
    runner.release(0)
    assert not runner.cache.halves.any()


def test_the_signature_names_no_machine(load: Loader) -> None:
    assert load("llama").signature == {"runner": "exact", "version": "1", "quantization": "8-bit"}


def test_what_was_compiled_is_kept_and_neither_torch_nor_transformers_imported(load: Loader) -> None:
    code = (
        "import sys; from pathlib import Path; from minivault.engine import exact\n"
        f"runner = exact.load(Path({str(load.prepared('llama'))!r}), num_slots=1, context=64, threads=1, "
        f"cache_dir=Path({str(load.compiled)!r}))\n"
        "runner.close(); print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    _, done = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_cache_folder_that_cannot_be_made_costs_time_only(load: Loader, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = exact.load(load.prepared("llama"), num_slots=1, context=64, threads=1, cache_dir=tmp_path / "file" / "x")
    assert runner.every_logit(tokens(5)).tobytes() == load("llama").every_logit(tokens(5)).tobytes()
    runner.close()
