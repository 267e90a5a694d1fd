"""The transformers runner on tiny random checkpoints, against the library's own `generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from minivault.engine.runner import Chunk
from minivault.engine.transformers import TransformersRunner
from minivault.errors import ModelError
from tests.engine.driving import GREEDY, Drive
from tests.engine.scripted import VOCABULARY_SIZE

Model = torch.nn.Module


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Waking a second thread takes longer than these models."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def gpt2() -> Model:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=VOCABULARY_SIZE, n_positions=96, n_embd=32, n_layer=2, n_head=4, bos_token_id=257, eos_token_id=256
    )
    return GPT2LMHeadModel(config).eval()


def llama() -> Model:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=256,
        pad_token_id=256,
        bos_token_id=257,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def sliding() -> Model:
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        sliding_window=12,
        eos_token_id=256,
        pad_token_id=256,
        initializer_range=0.3,
    )
    return MistralForCausalLM(config).eval()


SIZES = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256, "initializer_range": 0.3}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1}
SHARED = {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 12}
OF_THE_LIBRARY: dict[str, dict[str, Any]] = {
    "qwen3_5_text": {"head_dim": 8, **LINEAR},  # three layers of states, one of attention
    "mamba2": {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1},  # states alone
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "deepseek_v2": {**LATENT, **ROUTED, "first_k_dense_replace": 1},  # latents, and experts
    "olmoe": {"num_experts": 8, "num_experts_per_tok": 2},
    "gemma4_text": {**SHARED, "head_dim": 8, "global_head_dim": 8, "vocab_size_per_layer_input": VOCABULARY_SIZE},
}


def of_the_library(model_type: str) -> Callable[[], Model]:
    """A small model of a kind that does more than attend."""

    def make() -> Model:
        torch.manual_seed(1)
        ends = {"eos_token_id": 256, "pad_token_id": 256, "bos_token_id": 257}
        config = AutoConfig.for_model(model_type, **SIZES, **ends, **OF_THE_LIBRARY[model_type])
        model: Model = AutoModelForCausalLM.from_config(config).eval()
        return model

    make.__name__ = model_type
    return make


def runner_of(model: Model, **options: int) -> TransformersRunner:
    return TransformersRunner(model, **({"num_slots": 4, "context": 96, "chunk_tokens": 16} | options))


def prefill(runner: TransformersRunner, slot: int, tokens: list[int], start: int) -> torch.Tensor:
    return torch.from_numpy(runner.forward([Chunk(slot, tokens, start, is_prompt=True)])[0])


def decode(runner: TransformersRunner, slot: int, token: int, position: int) -> torch.Tensor:
    return torch.from_numpy(runner.forward([Chunk(slot, [token], position, is_prompt=False)])[0])


def generated(model: Model, prompt: list[int], num: int) -> list[int]:
    """What the library itself says, greedily, up to and with the end token."""
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=num, do_sample=False, pad_token_id=256
        )
    return output[0, len(prompt) :].tolist()


FAMILIES = pytest.mark.parametrize("family", [gpt2, llama])
EVERY_FAMILY = pytest.mark.parametrize("family", [gpt2, llama, sliding, *map(of_the_library, OF_THE_LIBRARY)])
PROMPTS = [[65, 66, 67], list(range(50)), [5] * 16, list(range(40, 73))]


@EVERY_FAMILY
def test_greedy_answers_are_those_of_generate(family: Callable[[], Model], drive: Callable[..., Drive]) -> None:
    model = family()
    made = drive(runner_of(model))
    jobs = [made.submit(prompt, max_tokens=24, **GREEDY) for prompt in PROMPTS]
    made.finish()
    assert [made.transcripts[job].tokens for job in jobs] == [generated(model, prompt, 24) for prompt in PROMPTS]


@FAMILIES
def test_logits_match_one_forward_pass(family: Callable[[], Model]) -> None:
    model, tokens = family(), list(range(30, 70))
    runner = runner_of(model)
    with torch.inference_mode():
        whole = model(input_ids=torch.tensor([tokens])).logits[0]
    for start in range(0, 32, 16):
        logits = prefill(runner, 0, tokens[start : start + 16], start)
        torch.testing.assert_close(logits, whole[start + 15], rtol=1e-4, atol=1e-5)
    for position in range(32, 40):
        logits = decode(runner, 0, tokens[position], position)
        torch.testing.assert_close(logits, whole[position], rtol=1e-4, atol=1e-5)


@EVERY_FAMILY
def test_sampled_tokens_do_not_depend_on_company_or_cache(
    family: Callable[[], Model], drive: Callable[..., Drive]
) -> None:
    model = family()
    prompts = [[7] * 32 + prompt for prompt in PROMPTS]
    alone = [drive(runner_of(model)).run(prompt, seed=i, max_tokens=12).tokens for i, prompt in enumerate(prompts)]
    made = drive(runner_of(model), max_running=3, prefix_cache_bytes=1 << 24)
    for _ in range(2):
        jobs = [made.submit(prompt, seed=i, max_tokens=12) for i, prompt in enumerate(prompts)]
        made.finish()
        assert [made.transcripts[job].tokens for job in jobs] == alone
    assert bool(made.engine.stats["cached_tokens"]) == made.runner.can_copy


@FAMILIES
def test_a_copied_chunk_is_bitwise_what_prefill_leaves(family: Callable[[], Model]) -> None:
    runner, tokens = runner_of(family()), list(range(48))
    for start in (0, 16, 32):
        expected = prefill(runner, 0, tokens[start : start + 16], start)
    for start in (0, 16):
        runner.copy_in(1, start, runner.copy_out(0, start, start + 16))
    assert torch.equal(prefill(runner, 1, tokens[32:], 32), expected)
    assert torch.equal(decode(runner, 1, 9, 48), decode(runner, 0, 9, 48))


@FAMILIES
def test_a_decode_may_be_repeated(family: Callable[[], Model]) -> None:
    runner = runner_of(family())
    prefill(runner, 0, [1, 2, 3], 0)
    first = decode(runner, 0, 4, 3)
    assert torch.equal(decode(runner, 0, 4, 3), first)


def test_a_failed_forward_pass_leaves_the_slot_usable() -> None:
    model = llama()
    runner = runner_of(model)
    prefill(runner, 0, [1, 2, 3], 0)
    expected = decode(runner, 0, 4, 3)
    hook = model.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode(runner, 0, 4, 3)
    hook.remove()
    assert torch.equal(decode(runner, 0, 4, 3), expected)


def test_learned_positions_limit_the_context() -> None:
    assert runner_of(gpt2(), context=4096).context == 96


@pytest.mark.parametrize(
    ("num_full", "slots", "context"), [(9.5, 4, 96), (2.5, 2, 96), (1, 1, 96), (0.5, 1, 48), (0, 1, 1)]
)
def test_of_a_budget_there_are_as_many_full_slots_as_fit(num_full: float, slots: int, context: int) -> None:
    full = runner_of(gpt2()).bytes_per_slot
    runner = runner_of(gpt2(), cache_bytes=int(num_full * full))
    assert (runner.num_slots, runner.context) == (slots, context)
    assert runner.num_free_blocks == runner.num_blocks
    prefill(runner, 0, [1], 0)
    assert runner.num_free_blocks == runner.num_blocks - 1


def test_a_sliding_window_keeps_the_prefix_cache_off_and_the_prompt_whole() -> None:
    runner = runner_of(sliding())
    assert not runner.can_copy
    assert runner.chunk_tokens == runner.context


def test_a_slots_size_is_known_before_use() -> None:
    runner = runner_of(llama())
    assert runner.bytes_per_slot == 96 * 2 * 2 * 2 * 8 * 4  # positions, layers, keys and values, heads, size, float32


@FAMILIES
def test_an_embedding_has_unit_length_and_depends_on_the_text(family: Callable[[], Model]) -> None:
    runner = runner_of(family())
    one, other = runner.embed([1, 2, 3]), runner.embed([3, 2, 9])
    assert one.shape == (32,)
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(one, other)


def test_the_signature_is_made_of_text_and_names_the_precision() -> None:
    signature = runner_of(llama().bfloat16()).signature
    assert all(isinstance(value, str) for value in signature.values())
    assert signature["quantization"] == "bfloat16"


def beside(runner: TransformersRunner, num: int) -> torch.Tensor:
    """What the first of `num` sequences, all of other lengths, says of its next token."""
    for slot in range(num):
        prefill(runner, slot, [(slot * 31 + place) % 250 for place in range(3 + 5 * (slot % 3))], 0)
    chunks = [Chunk(slot, [slot + 9], 3 + 5 * (slot % 3), is_prompt=False) for slot in range(num)]
    return torch.from_numpy(runner.forward(chunks)[0])


@EVERY_FAMILY
def test_sequences_share_passes_and_each_has_the_bits_that_it_has_alone(family: Callable[[], Model]) -> None:
    model = family()
    runner, passes = runner_of(model, num_slots=9, context=64), list[int]()
    assert runner.signature["decoding"] == "8 rows"
    alone = beside(runner, 1)
    for num, expected in ((3, 1), (8, 1), (9, 2)):
        hook = model.register_forward_hook(lambda *_: passes.append(1))
        assert torch.equal(beside(runner, num), alone)
        hook.remove()
        assert len(passes) == num + expected  # a prompt has one of its own
        passes.clear()


def stretched() -> Model:
    """Whose positions are turned by the longest sequence of a pass."""
    model = llama()
    turned = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    return LlamaForCausalLM(type(model.config)(**model.config.to_dict() | {"rope_parameters": turned})).eval()


def test_where_company_would_change_a_bit_each_sequence_is_computed_by_itself() -> None:
    runner = runner_of(stretched(), num_slots=3, context=64)
    assert runner.signature["decoding"] == "1 row"
    assert torch.equal(beside(runner, 3), beside(runner, 1))


def test_a_model_that_forgets_is_refused() -> None:
    """Whose cache is none that the library's forward pass is given."""
    model = llama()
    forward = model.forward
    model.forward = lambda **given: forward(**given | {"past_key_values": None})
    with pytest.raises(ModelError, match="forgets what it has read"):
        runner_of(model)


def test_a_model_whose_logits_are_no_numbers_is_refused() -> None:
    model = llama()
    torch.nn.init.constant_(model.model.norm.weight, torch.inf)
    with pytest.raises(ModelError, match="NaN or infinite"):
        runner_of(model)


def test_an_empty_slot_is_told_apart() -> None:
    with pytest.raises(RuntimeError, match="slot 2 is empty"):
        decode(runner_of(llama()), 2, 1, 3)


@pytest.mark.parametrize("make", [gpt2, llama, sliding])
def test_a_prompt_is_scored_as_the_library_sees_it(drive: Callable[..., Drive], make: Callable[[], Model]) -> None:
    """To rounding: a row among others is not computed as one alone. Whatever the company and the cache, the same."""
    model, prompt = make(), [(7 * place * place) % 250 for place in range(70)]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt])).logits[0].double()
    expected = torch.log_softmax(logits, -1)[range(69), prompt[1:]].tolist()
    made = drive(runner_of(model), prefix_cache_bytes=1 << 20, step_tokens=40)
    jobs = [made.submit(prompt, max_tokens=0, prompt_logprobs=3)]
    jobs += [made.submit(prompt[:50], max_tokens=4), made.submit(prompt, max_tokens=2, prompt_logprobs=3)]
    made.finish()
    jobs.append(made.submit(prompt, max_tokens=0, prompt_logprobs=3))
    made.finish()
    first, again, cached = (made.transcripts[jobs[index]].started.prompt_logprobs for index in (0, 2, 3))
    assert first is not None
    assert first == again == cached
    assert [entry.logprob for entry in first[1:]] == pytest.approx(expected, abs=1e-4)
