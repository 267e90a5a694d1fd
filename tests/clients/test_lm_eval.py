"""lm-eval 0.4.13 (`pip install "lm-eval[api]"`), `local-completions`, a task of our own on the default model.

Its log-likelihoods must be, to the last bit, the sum of what generation reports for the same tokens, which a bias makes
the model choose one by one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.config import load_settings
from minivault.errors import ModelError
from minivault.models import ModelStore
from tests.clients.conftest import answers
from tests.live import GUARD_S, LiveServer, live_server

pytestmark = [pytest.mark.clients, pytest.mark.model]

MODEL = "smollm2-135m"
DOCUMENTS: list[dict[str, Any]] = [
    {"question": "The capital of France is", "choices": ["Paris", "Rome", "a kind of bread", "Berlin"], "answer": 0},
    {"question": "The opposite of hot is", "choices": ["warm", "cold", "a café à la carte", "Tuesday"], "answer": 1},
]
TASK = """
task: questions
dataset_path: json
dataset_kwargs: {data_files: %s}
test_split: train
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval is not installed")
    settings = load_settings()
    try:
        ModelStore(settings.models_dir).resolve(MODEL)
    except ModelError as error:
        pytest.skip(error.message)
    directory = tmp_path_factory.mktemp("lm-eval")
    with live_server(directory, backend="", home=settings.home, rate_limit="", vault_sync="written") as running:
        running.wait_ready()
        yield running


def evaluate(server: LiveServer, folder: Path, args: str, batch_size: int) -> list[dict[str, Any]]:
    """Run the task; return its samples."""
    (folder / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS))
    (folder / "questions.yaml").write_text(TASK % (folder / "questions.jsonl"))
    tokenizer = load_settings().models_dir / MODEL
    given = {"model": MODEL, "base_url": f"{server.url}/v1/completions", "tokenizer": tokenizer,
             "tokenizer_backend": "huggingface"}  # fmt: skip
    model_args = ",".join([*(f"{name}={value}" for name, value in given.items()), args])
    command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", model_args,
               "--tasks", "questions", "--include_path", str(folder), "--output_path", str(folder / "out"),
               "--log_samples", "--batch_size", str(batch_size)]  # fmt: skip
    environ = os.environ | {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=GUARD_S, check=False)
    assert done.returncode == 0, done.stderr
    (samples,) = (folder / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in samples.read_text().splitlines()]


def generated(server: LiveServer, context: list[int], continuation: list[int]) -> float:
    """The sum of what generation reports for each token of a continuation."""
    total = 0.0
    for place, token in enumerate(continuation):
        body = {"model": MODEL, "prompt": [*context, *continuation[:place]], "max_tokens": 1, "logprobs": 0,
                "logit_bias": {str(token): 100}, "temperature": 0}  # fmt: skip
        (choice,) = httpx.post(f"{server.url}/v1/completions", json=body, timeout=GUARD_S).json()["choices"]
        total += choice["logprobs"]["token_logprobs"][0]
    return total


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("args", "batch_size"),
    [("tokenized_requests=True,num_concurrent=4", 1), ("tokenized_requests=False", 1), ("tokenized_requests=False", 3)],
)
def test_log_likelihoods_are_those_of_generation(
    server: LiveServer, tmp_path: Path, args: str, batch_size: int
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(load_settings().models_dir / MODEL / "tokenizer.json"))
    samples = evaluate(server, tmp_path, args, batch_size)
    assert [sample["acc"] for sample in samples] == [1.0, 1.0]
    for sample in samples:
        for told, (text, option) in zip(
            sample["filtered_resps"], (one.values() for one in sample["arguments"].values()), strict=True
        ):
            context, whole = tokenizer.encode(text).ids, tokenizer.encode(text + option).ids
            assert float(told[0]) == generated(server, context, whole[len(context) :])
    scored = [record for record in answers(server) if "scores" in record]
    assert scored[-1]["api"] == "openai.completions"
    assert scored[-1]["parameters"]["prompt_logprobs"] == 1
