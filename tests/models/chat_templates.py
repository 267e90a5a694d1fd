"""Chat templates of the families in use, shortened, and tokenizers of every kind that know their control tokens."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

CONTROL = [
    *("<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>"),
    *("<|system|>", "<|end|>", "[INST]", "[/INST]"),
]
TAGS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
"""Added tokens that are not special; control tokens where the template writes them."""
ORDINARY = ["  ", "<table>"]
"""Added tokens that are plain pieces of text."""

TEMPLATES = {
    "chatml": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama 2": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content.strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama 3": "{{ '<|begin_of_text|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
    "gemma": "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}<start_of_turn>model\n",
    "phi": "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}"
    "{% endfor %}{{ '<|assistant|>' }}",
    "named": "{% for m in messages %}{{ '<|' + m.name | default('user') + '|>' }}{{ m.content }}<|end|>{% endfor %}",
    "tools": "{% for tool in tools or [] %}<|system|>{{ tool | tojson }}<|end|>{% endfor %}"
    "{% for m in messages %}<|user|>"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.arguments | tojson }}</tool_call>{% endfor %}"
    "{{ m.content }}<|end|>{% endfor %}",
    "lower": "{% for m in messages %}<|user|>{{ m.content | lower }}<|end|>{% endfor %}",
    "adjacent": "{% for m in messages %}{{ m.name }}{{ m.content }}{% endfor %}<|end|>",
    "think": "{% for m in messages %}<|user|>{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}"
    "{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}<|assistant|><think>\n",
}
READS_CONTENT = {"think"}
"""Templates that write other text for other content."""


def kinds() -> dict[str, Tokenizer]:
    """One small tokenizer of every kind, each with all of the tokens above."""
    made = {
        "byte level": _byte_level(),
        "sentencepiece": _metaspace("always"),
        "sentencepiece, first": _metaspace("first"),
        "prepended": _prepended(),
        "unigram": _unigram(),
        "lower case": _lower_case(),
    }
    for tokenizer in made.values():
        special = [AddedToken(text, normalized=False, rstrip=text == "<|end|>") for text in CONTROL]
        tokenizer.add_special_tokens(special)
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in [*TAGS, *ORDINARY]])
    return made


def _pieces() -> list[str]:
    return ["<unk>", "<s>", "</s>", "▁", *map(chr, range(32, 127)), "▁a", "▁x", "ab", "\n", "é"]


def _byte_level() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: index for index, piece in enumerate(["<s>", *alphabet, "ab", "Ġa", "<|", "|>", "im"])}
    merges = [("a", "b"), ("Ġ", "a"), ("<", "|"), ("|", ">"), ("i", "m")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _metaspace(scheme: str) -> Tokenizer:
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(_pieces()))}
    merges = [("▁", "a"), ("▁", "x"), ("a", "b")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def _prepended() -> Tokenizer:
    tokenizer = _metaspace("never")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def _unigram() -> Tokenizer:
    scored = [(piece, 0.0 if piece in CONTROL else -2.0 - len(piece)) for piece in dict.fromkeys(_pieces())]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return tokenizer


def _lower_case() -> Tokenizer:
    """Like BERT: text is folded before it is looked at, and so are some of its control tokens."""
    vocab = {
        piece: index
        for index, piece in enumerate(["[UNK]", *map(chr, range(33, 127)), *("##" + chr(i) for i in range(33, 127))])
    }
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken("[MASK]", normalized=True), AddedToken("[UNK]", normalized=False)])
    return tokenizer
