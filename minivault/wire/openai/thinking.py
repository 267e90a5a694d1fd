"""How OpenAI's clients ask a model to think, and how long: the names in use, as one request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from minivault.wire.openai.fields import Strict

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
Budget = Annotated[int, Field(ge=0)]


class ReasoningOptions(Strict):
    """`reasoning`, as OpenAI's Responses and routers in front of several servers have it."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = Field(None, description="no effect: thoughts come whole")
    generate_summary: Literal["auto", "concise", "detailed"] | None = Field(None, description="the older `summary`")
    max_tokens: Budget | None = Field(None, description="most tokens of thought")
    enabled: bool | None = None
    exclude: Literal[False] | None = None


class ThinkingOptions(Strict):
    """`thinking`, as Anthropic's clients have it."""

    type: Literal["enabled", "disabled", "adaptive"] = "enabled"
    budget_tokens: Budget | None = None


def thinking(
    effort: Effort | None,
    reasoning: ReasoningOptions | None = None,
    options: ThinkingOptions | None = None,
    budget: int | None = None,
) -> dict[str, Any]:
    """The members of a `GenerationRequest` that say whether, how hard and how long to think."""
    effort = effort or (reasoning.effort if reasoning else None)
    wanted = [None if effort is None else effort != "none", reasoning.enabled if reasoning else None]
    if options and options.type != "adaptive":
        wanted.append(options.type == "enabled")
    budgets = [budget, reasoning.max_tokens if reasoning else None, options.budget_tokens if options else None]
    return {
        "thinks": next((one for one in wanted if one is not None), None),
        "thinking_effort": None if effort in (None, "none") else effort,
        "thinking_budget": next((one for one in budgets if one is not None), None),
    }
