"""Our tokenizer is transformers' tokenizer, and its decoders lose no byte."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import BadRequest, ModelError
from minivault.models import ModelStore, load_tokenizer
from minivault.models.tokenizer import ModelTokenizer
from minivault.types import Message
from tests.models import sentencepiece

TEXTS = [
    "Hello world",
    "  two  spaces\n\n\tand tabs 1 12 123  4",
    "naïve café — “quotes” 日本語 🧑‍🚀 and \u2028 separators",
    "<|endoftext|> in the middle <|im_end|>",
    "don't we'll I'M",
    "",
]


@pytest.fixture(scope="module")
def gpt2_tokenizer(distilgpt2_files: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    store = ModelStore(tmp_path_factory.mktemp("store"))
    return load_tokenizer(store.resolve(str(distilgpt2_files)))


@pytest.fixture(scope="module")
def chat_files(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ModelStore(tmp_path_factory.mktemp("store")).pull(str(gguf_file)).directory


@pytest.fixture(scope="module")
def chat_tokenizer(chat_files: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    return load_tokenizer(ModelStore(tmp_path_factory.mktemp("store")).resolve(str(chat_files)))


def reference(directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, local_files_only=True)


def test_the_gpt2_vocabulary_is_the_real_one(gpt2_tokenizer: ModelTokenizer) -> None:
    assert gpt2_tokenizer.vocabulary_size == 50257
    assert gpt2_tokenizer.encode("Hello world", add_special=True) == [15496, 995]


def test_gpt2_texts_are_encoded_as_transformers_encodes_them(
    gpt2_tokenizer: ModelTokenizer, distilgpt2_files: Path
) -> None:
    theirs = reference(distilgpt2_files)
    for text in TEXTS:
        for special in (True, False):
            assert gpt2_tokenizer.encode(text, add_special=special) == theirs.encode(text, add_special_tokens=special)


def test_chat_texts_are_encoded_as_transformers_encodes_them(chat_tokenizer: ModelTokenizer, chat_files: Path) -> None:
    theirs = reference(chat_files)
    for text in TEXTS:
        assert chat_tokenizer.encode(text, add_special=True) == theirs.encode(text)


def test_conversations_are_rendered_as_transformers_renders_them(
    chat_tokenizer: ModelTokenizer, chat_files: Path
) -> None:
    theirs = reference(chat_files)
    conversations = [
        [("user", "Hi")],
        [("system", "Be brief."), ("user", "  Hi\n"), ("assistant", "Yes?"), ("user", "{{ 1 + 1 }} <im_end>")],
    ]
    for turns in conversations:
        messages = [{"role": role, "content": content} for role, content in turns]
        expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        read = chat_tokenizer.read_chat([Message(role, content) for role, content in turns])  # type: ignore[arg-type]
        assert read.text == expected
        ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert list(read.tokens) == ids


def test_vocab_and_merges_alone_make_the_same_tokenizer(
    distilgpt2: Path, gpt2_tokenizer: ModelTokenizer, store: ModelStore
) -> None:
    (distilgpt2 / "tokenizer.json").unlink()
    (distilgpt2 / "tokenizer_config.json").unlink()
    rebuilt = load_tokenizer(store.resolve(str(distilgpt2)))
    assert rebuilt.vocabulary_size == 50257
    assert rebuilt.eos_ids == frozenset({50256})
    for text in TEXTS:
        assert rebuilt.encode(text, add_special=True) == gpt2_tokenizer.encode(text, add_special=True)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_decoding_gives_back_every_byte(gpt2_tokenizer: ModelTokenizer, text: str) -> None:
    decode = gpt2_tokenizer.decoder()
    pieces = [decode(token) for token in gpt2_tokenizer.encode(text, add_special=False)]
    assert b"".join(pieces) == text.replace("<|endoftext|>", "").encode()


def test_every_token_of_the_vocabulary_has_the_bytes_that_the_library_decodes(
    gpt2_tokenizer: ModelTokenizer, distilgpt2_files: Path
) -> None:
    import tokenizers

    library = tokenizers.Tokenizer.from_file(str(distilgpt2_files / "tokenizer.json"))
    for token in range(0, 50256, 7):
        assert gpt2_tokenizer.token_bytes(token).decode(errors="replace") == library.decode([token])


def test_special_and_unknown_tokens_have_no_bytes(gpt2_tokenizer: ModelTokenizer) -> None:
    assert [gpt2_tokenizer.token_bytes(token) for token in (50256, 50257, 10**9, -1)] == [b""] * 4


def test_lone_surrogates_are_the_callers_fault(gpt2_tokenizer: ModelTokenizer) -> None:
    with pytest.raises(BadRequest, match="character 2"):
        gpt2_tokenizer.encode("ab\ud800", add_special=True)


def test_a_model_without_a_template_says_so(gpt2_tokenizer: ModelTokenizer) -> None:
    assert not gpt2_tokenizer.has_chat_template
    assert not gpt2_tokenizer.has_tool_template
    with pytest.raises(BadRequest, match="no chat template"):
        gpt2_tokenizer.read_chat([Message("user", "Hi")])


def test_the_end_ids_are_those_of_every_file_and_of_the_template(chat_files: Path, store: ModelStore) -> None:
    files = store.resolve(str(chat_files))
    assert load_tokenizer(files).eos_ids == frozenset({2})
    config = json.loads((chat_files / "generation_config.json").read_text())
    other = store.models_dir.parent / "other"
    other.mkdir()
    for path in chat_files.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [0, 7]}))
    (other / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x<|im_end|>", "eos_token": "!"}))
    found = load_tokenizer(store.resolve(str(other))).eos_ids
    assert found == frozenset({0, 7, 2, load_tokenizer(files).encode("!", add_special=False)[0]})


def test_a_bos_token_is_added_to_plain_prompts_only_when_the_settings_say_so(
    distilgpt2: Path, store: ModelStore
) -> None:
    settings_file = distilgpt2 / "tokenizer_config.json"
    settings_file.write_text(json.dumps({"add_bos_token": True, "bos_token": "<|endoftext|>"}))
    tokenizer = load_tokenizer(store.resolve(str(distilgpt2)))
    assert tokenizer.encode("Hello world", add_special=True) == [50256, 15496, 995]
    assert tokenizer.encode("Hello world", add_special=False) == [15496, 995]


def test_a_damaged_tokenizer_is_refused_with_one_line(distilgpt2: Path, store: ModelStore) -> None:
    (distilgpt2 / "tokenizer.json").write_text('{"model": {"type": "BPE"')
    with pytest.raises(ModelError, match="get the model again") as caught:
        load_tokenizer(store.resolve(str(distilgpt2)))
    assert "\n" not in caught.value.message


def test_a_template_that_asks_for_the_date_gets_the_time_passed_in(distilgpt2: Path, store: ModelStore) -> None:
    template = "{{ strftime_now('%d %B %Y') }} {{ bos_token }}{{ messages[0]['content'] }}"
    (distilgpt2 / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    (distilgpt2 / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(store.resolve(str(distilgpt2)), now=lambda: datetime(2024, 2, 29))
    assert tokenizer.read_chat([Message("user", "Hi")]).text == "29 February 2024 <s>Hi"


@pytest.fixture(scope="module")
def pieces_tokenizer(distilgpt2_files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelTokenizer, Any]:
    folder = tmp_path_factory.mktemp("models") / "pieces"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((distilgpt2_files / name).read_bytes())
    library = sentencepiece.write(folder / "tokenizer.json")
    return load_tokenizer(ModelStore(tmp_path_factory.mktemp("store")).resolve(str(folder))), library


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_sentencepiece_pieces_and_byte_tokens_give_back_every_byte(
    pieces_tokenizer: tuple[ModelTokenizer, Any], text: str
) -> None:
    tokenizer, library = pieces_tokenizer
    ids = tokenizer.encode(text, add_special=False)
    decode = tokenizer.decoder()
    whole = b"".join(decode(token) for token in ids)
    assert whole.decode() == library.decode(ids) == text.replace("▁", " ")


def test_sentencepiece_adds_its_bos_to_plain_prompts(pieces_tokenizer: tuple[ModelTokenizer, Any]) -> None:
    tokenizer, _ = pieces_tokenizer
    assert tokenizer.encode("a b", add_special=True) == [1, *tokenizer.encode("a b", add_special=False)]
    assert tokenizer.token_bytes(1) == b""
    assert tokenizer.token_bytes(3 + 0xE2) == b"\xe2"


def test_any_other_decoder_is_followed_by_difference(distilgpt2: Path, store: ModelStore) -> None:
    library = sentencepiece.write_word_pieces(distilgpt2 / "tokenizer.json")
    tokenizer = load_tokenizer(store.resolve(str(distilgpt2)))
    ids = tokenizer.encode("playing plays", add_special=False)
    decode = tokenizer.decoder()
    assert b"".join(decode(token) for token in ids).decode() == library.decode(ids) == "playing plays"
