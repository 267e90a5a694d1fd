"""A checkpoint's own tokenizer, without importing transformers, which takes seconds.

Guarantees: `encode` and `read_chat` give what transformers gives for the same files, except that what people write in
a conversation is never a control token; the decoder's bytes, joined, are the answer exactly; nothing depends on the
clock except a template that asks for the date, which gets the time passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import BadRequest, ModelError
from minivault.models import layout
from minivault.models.control import ControlTokens
from minivault.models.model_files import ModelFiles
from minivault.models.template import ChatTemplate, chat_template
from minivault.models.token_bytes import decoder_section, decoding, is_sentencepiece
from minivault.types import NO_OPTIONS, Message, Reading, TokenDecoder

if TYPE_CHECKING:
    import tokenizers

_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|end_of_turn|>", "<|return|>")
"""Tokens that end a turn in the templates in use; one counts when the model's own template writes it."""


class ModelTokenizer:
    """Implements types.Tokenizer on a `tokenizers.Tokenizer` and the model's settings files."""

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        *,
        template: ChatTemplate,
        special_tokens: Mapping[str, str],
        eos_ids: Iterable[int],
        bos_id: int | None,
        now: Callable[[], datetime],
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._special_tokens = dict(special_tokens)
        self._bos_id = bos_id
        self._now = now
        self._control = ControlTokens(tokenizer, template.text + template.tool_text)
        section = decoder_section(tokenizer)
        self._token_bytes, self._make_decoder = decoding(tokenizer, section)
        self.vocabulary_kind = "llama" if is_sentencepiece(section) else "gpt2"
        self.vocabulary_size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.eos_ids = frozenset(eos_ids)
        self.has_chat_template = bool(template.text)
        self.has_tool_template = template.reads_tools

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        """Token ids of `text`; with `add_special` also what the tokenizer puts around a text, such as BOS.

        Text that spells a control token is one: what people write in a conversation goes through `read_chat`.
        Raises BadRequest for text that is not valid Unicode (lone surrogates).
        """
        _ensure_unicode(text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special).ids
        return list(self._begun(ids)) if add_special else ids

    def read(self, text: str) -> Reading:
        """Plain text: what spells a control token is none. Raises BadRequest for text that is not valid Unicode."""
        _ensure_unicode(text)
        reading = self._control.read(text)
        return replace(reading, tokens=tuple(self._begun(reading.tokens)))

    def read_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        continues: bool = False,
    ) -> Reading:
        """The conversation as the prompt of the assistant's next turn, by the model's template; where `continues`, as
        that of the rest of its last message.

        Raises BadRequest when there is no template, it refuses the conversation, or `options` spell a control token.
        """
        if not self.has_chat_template:
            raise BadRequest("this model has no chat template; send a plain prompt", field="messages")
        turns = [{"role": message.role, "content": message.content} | message.extra for message in messages]
        if options and self._control.is_spelled_in(options):
            message = "chat_template_kwargs: what spells a control token of this model cannot be a variable"
            raise BadRequest(message, field="chat_template_kwargs")
        now = self._now()

        def render(turns: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> str:
            special, template = self._special_tokens, self._template
            text = template.render(
                turns, tools=tools, special_tokens=special, now=now, options=options, continues=continues
            )
            _ensure_unicode(text)
            return text

        return self._control.read_chat(render, turns, list(tools))

    def _begun(self, ids: Sequence[int]) -> Sequence[int]:
        """With the token that begins a text, where the settings say so and the tokenizer does not."""
        bos = self._bos_id
        return ids if bos is None or list(ids[:1]) == [bos] else [bos, *ids]

    def decoder(self) -> TokenDecoder:
        """A decoder for one answer."""
        return self._make_decoder()

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token on its own; empty for special tokens."""
        return self._token_bytes(token_id)

    def token_name(self, token_id: int) -> str:
        """A token as the vocabulary spells it; for ids outside of it, the number."""
        return self._tokenizer.id_to_token(token_id) or f"token {token_id}"


def _ensure_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest(f"the text is not valid Unicode at character {error.start}", field="prompt") from None


def load_tokenizer(files: ModelFiles, *, now: Callable[[], datetime] = datetime.now) -> ModelTokenizer:
    """The tokenizer of a model; `now` is what a template that asks for the date is told.

    Raises ModelError when its files are damaged.
    """
    directory = files.text_directory
    tokenizer = _read_tokenizer(directory)
    settings = _settings(directory)
    special = _special_tokens(directory, settings)
    template = chat_template(directory)
    return ModelTokenizer(
        tokenizer,
        template=template,
        special_tokens=special,
        eos_ids=_eos_ids(files, tokenizer, special, template),
        bos_id=tokenizer.token_to_id(special.get("bos_token", "")) if settings.get("add_bos_token") is True else None,
        now=now,
    )


def _read_tokenizer(directory: Path) -> tokenizers.Tokenizer:
    import tokenizers

    file = directory / "tokenizer.json"
    try:
        if not file.is_file():
            return _from_vocabulary(directory)
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    # The library raises bare Exception for whatever is wrong with a file.
    except Exception as error:
        raise ModelError(f"the tokenizer in {directory} is damaged ({error}); get the model again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _from_vocabulary(directory: Path) -> tokenizers.Tokenizer:
    """GPT-2's own layout: vocab.json and merges.txt."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    bpe = models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt"))
    tokenizer = Tokenizer(bpe)
    spaced = _settings(directory).get("add_prefix_space") is True
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    special = _special_tokens(directory, _settings(directory)) or {"eos_token": "<|endoftext|>"}
    known = {token for token in special.values() if tokenizer.token_to_id(token) is not None}
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in sorted(known)])
    return tokenizer


def _settings(directory: Path) -> dict[str, Any]:
    file = directory / "tokenizer_config.json"
    return layout.read_json(file) if file.is_file() else {}


def _special_tokens(directory: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and so on, as text."""
    file = directory / "special_tokens_map.json"
    found = {**(layout.read_json(file) if file.is_file() else {}), **settings}
    if not any(found.get(key) for key in _SPECIAL_KEYS) and not (directory / "tokenizer.json").is_file():
        found = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    special = {}
    for key in _SPECIAL_KEYS:
        value = found.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            special[key] = text
    return special


def _eos_ids(
    files: ModelFiles, tokenizer: tokenizers.Tokenizer, special: Mapping[str, str], template: ChatTemplate
) -> frozenset[int]:
    """Every id that ends an answer: by the settings files, the tokenizer's own, and what ends the template's turns."""
    file = files.directory / "generation_config.json"
    generation = layout.read_json(file) if file.is_file() else {}
    ids: set[int] = set()
    for config in (generation, files.config):
        value = config.get("eos_token_id")
        ids.update(index for index in (value if isinstance(value, list) else [value]) if type(index) is int)
    tokens = [special.get("eos_token", ""), *(token for token in _TURN_ENDS if token in template.text)]
    ids.update(index for token in tokens if (index := tokenizer.token_to_id(token)) is not None)
    return frozenset(index for index in ids if index >= 0)
