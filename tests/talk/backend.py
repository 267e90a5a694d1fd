"""The scripted model with a template that thinks: it shows its variables, then the last message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from minivault.config import Settings
from minivault.service import Loaded
from minivault.types import NO_OPTIONS, Message, Reading
from tests.scripted import ByteTokenizer
from tests.scripted import backend as plain_backend


class Thinker(ByteTokenizer):
    """With `enable_thinking` false it closes the thought, with true it opens it, by itself it leaves it to the model.
    What it writes after the message is no part of what the script reads."""

    ends = {None: "", True: "<think>\n", False: "<think>\n\n</think>\n\n"}  # noqa: RUF012

    def read_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        continues: bool = False,
    ) -> Reading:
        shown = "".join(f"[{name}={json.dumps(value)}]" for name, value in sorted(options.items()))
        read = self.read(f"{shown}{messages[-1].content}")
        return replace(read, text=read.text + self.ends[options.get("enable_thinking")])


def backend(settings: Settings) -> Loaded:
    loaded = plain_backend(settings)
    return replace(loaded, info=replace(loaded.info, thought_format="think"), tokenizer=Thinker())
