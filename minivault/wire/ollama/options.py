"""The `options` of an Ollama request: its names, types and defaults, and what they mean for our sampling.

A wrong type is refused in Ollama's words, a value that cannot be honoured in ours. Options that tune Ollama's own
engine are accepted and have no effect here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from minivault.types import SamplingParams
from minivault.wire.validation import VERBATIM, Body

MAX_STOPS = 16
RANDOM_SEED = -1
SEED_SPACE = 2**63


def _wrong_type(info: ValidationInfo, expected: str) -> PydanticCustomError:
    message = f'option "{info.field_name}" must be of type {expected}'
    return PydanticCustomError(VERBATIM, "{message}", {"message": message})


def _integer(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= SEED_SPACE:  # also false for NaN
        raise _wrong_type(info, "integer")
    return handler(int(value))


def _float(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(info, "float32")
    return handler(float(value))


def _boolean(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if not isinstance(value, bool):
        raise _wrong_type(info, "boolean")
    return handler(value)


def _array(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong_type(info, "array")
    return handler(value)


Integer = Annotated[int, WrapValidator(_integer)]
Float = Annotated[float, WrapValidator(_float)]
Boolean = Annotated[bool, WrapValidator(_boolean)]
Array = Annotated[list[str], WrapValidator(_array)]


class Options(Body):
    """Every option by Ollama's name and default."""

    seed: Integer = Field(RANDOM_SEED, description="-1 = drawn")
    num_predict: Integer = Field(-1, description="most tokens to generate; 0 or less = what the context leaves")
    temperature: Annotated[Float, Field(ge=0, le=2)] = 0.8
    top_k: Integer = Field(40, description="0 or less = off")
    top_p: Annotated[Float, Field(ge=0, le=1)] = 0.9
    min_p: Annotated[Float, Field(ge=0, le=1)] = 0.0
    repeat_penalty: Annotated[Float, Field(gt=0, le=2)] = 1.0
    presence_penalty: Annotated[Float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[Float, Field(ge=-2, le=2)] = 0.0
    repeat_last_n: Integer = Field(64, description="0 = no penalties; else they look at the whole answer")
    stop: Annotated[Array, Field(max_length=MAX_STOPS)] = Field([])
    num_ctx: Integer = Field(
        0, description="most tokens of the prompt that are read; 0 or less = what the context holds"
    )
    num_keep: Integer = Field(4, description="tokens at the front that a prompt cut for length keeps")
    num_batch: Integer = Field(512, description="no effect")
    num_gpu: Integer = Field(-1, description="no effect")
    main_gpu: Integer = Field(0, description="no effect")
    num_thread: Integer = Field(0, description="no effect")
    draft_num_predict: Integer = Field(4, description="no effect")
    typical_p: Float = Field(1.0, description="no effect")
    use_mmap: Boolean = Field(True, description="no effect")

    def most_read(self, context: int) -> int | None:
        """What `num_ctx` lowers the model's `context` to for the prompt; None where it does not."""
        return self.num_ctx if 0 < self.num_ctx < context else None

    def sampling(self, context: int, *, logprobs: int | None, grammar: str | None) -> SamplingParams:
        """These options for our engine; `context` bounds an answer that has no limit of its own."""
        has_penalties = self.repeat_last_n != 0
        repetition = "repeat_penalty" if has_penalties else "repeat_last_n"
        return SamplingParams(
            max_tokens=min(self.num_predict, context) if self.num_predict > 0 else context,
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repeat_penalty if has_penalties else 1.0,
            presence_penalty=self.presence_penalty if has_penalties else 0.0,
            frequency_penalty=self.frequency_penalty if has_penalties else 0.0,
            seed=None if self.seed == RANDOM_SEED else self.seed % SEED_SPACE,
            stop=tuple(stop for stop in self.stop if stop),
            logprobs=logprobs,
            grammar=grammar,
            unsaid=self.unsaid(repetition_penalty=repetition),
        )
