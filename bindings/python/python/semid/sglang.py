"""Constrained generation in SGLang.

    python -m sglang.launch_server --enable-custom-logit-processor --disable-overlap-schedule ...

A request carries `SemanticIdLogitProcessor.to_str()` as its `custom_logit_processor` and what it
wants in `custom_params={"semid": "books", ...}`: `semid.serving` has the names, and the environment
variables by which the server finds the index. A wrong request is aborted with a message.

The scheduler's overlap must be off (or `SGLANG_ENABLE_DELAY_SAMPLE=1` set): else SGLang samples a
token before the last one is known to a logit processor.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import torch
from sglang.srt.environ import envs
from sglang.srt.runtime_context import get_schedule
from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor

from .serving import Constraint, constrain

__all__ = ["SemanticIdLogitProcessor"]


class SemanticIdLogitProcessor(CustomLogitProcessor):
    """Leaves the tokens that lead to an item. It keeps a request's state among its parameters, so
    requests may come, go and be merged."""

    def __call__(
        self, logits: torch.Tensor, custom_param_list: list[dict[str, Any]] | None = None
    ) -> torch.Tensor:
        constraints: dict[int, Constraint] = {}
        before = None
        for row, params in enumerate(custom_param_list or []):
            try:
                constraint = constraint_of(params, logits.shape[1])
                if constraint is not None and params is before:
                    raise ValueError("semid does not go with speculative decoding")
            except (OSError, ValueError) as problem:
                abort(params["__req__"], str(problem))
            else:
                if constraint is not None:
                    constraints[row] = constraint
            before = params
        constrain(logits, constraints)
        return logits


def constraint_of(params: dict[str, Any] | None, logits: int) -> Constraint | None:
    """The constraint of a request, made at its first token, which has read all it was given."""
    if params is None or "__req__" not in params:
        return None
    request = params["__req__"]
    if "__semid__" not in params:
        constraint = Constraint.of(params, stops(request), logits)
        if constraint is not None:
            check_schedule()
        params["__semid__"] = constraint
    found: Constraint | None = params["__semid__"]
    if found is not None:
        found.read(request.output_ids[found.seen :])
    return found


def stops(request: Any) -> set[int]:
    """The tokens that end a request."""
    tokenizer = request.tokenizer
    found = {*(request.sampling_params.stop_token_ids or ()), *(request.eos_token_ids or ())}
    if tokenizer is not None:
        found |= {tokenizer.eos_token_id, *(tokenizer.additional_stop_token_ids or ())}
    return found - {None}


def check_schedule() -> None:
    if not (get_schedule().disable_overlap_schedule or envs.SGLANG_ENABLE_DELAY_SAMPLE.get()):
        raise ValueError("semid needs --disable-overlap-schedule, or SGLANG_ENABLE_DELAY_SAMPLE=1")


def abort(request: Any, message: str) -> None:
    from sglang.srt.managers.schedule_batch import FINISH_ABORT

    request.to_finish = FINISH_ABORT(message, HTTPStatus.BAD_REQUEST, "BadRequestError")
