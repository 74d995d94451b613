"""Constrained generation in vLLM, which takes the class by name, before it starts its processes:

    vllm serve MODEL --logits-processors semid.vllm:SemanticIdLogitsProcessor

or, with model runner V2, `semid.vllm:SemanticIdLogitsProcessorV2`. Requests say what they want in
`SamplingParams(extra_args={"semid": "books", ...})`: `semid.serving` has the names, and the
environment variables by which the processes find the index.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as LogitsProcessorV2

from .serving import Constraint, catalogues, constrain

__all__ = ["SemanticIdLogitsProcessor", "SemanticIdLogitsProcessorV2"]


def constraint_of(params: Any, logits: int | None = None) -> Constraint | None:
    return Constraint.of(params.extra_args, params.all_stop_token_ids, logits)


class SemanticIdLogitsProcessor(LogitsProcessor):
    """For the V1 model runner. A step reads the token that each request got in the last one."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.logits = vllm_config.model_config.get_vocab_size()
        catalogues(self.logits)
        #: By row of the batch, with the list to which vLLM appends what it generates.
        self.rows: dict[int, tuple[Constraint, list[int]]] = {}

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        constraint_of(sampling_params)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        def begin(params: Any, _: Any, output: list[int]) -> tuple[Constraint, list[int]] | None:
            constraint = constraint_of(params, self.logits)
            return None if constraint is None else (constraint, output)

        process_dict_updates(self.rows, batch_update, begin)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        # Not before: until now the last token can be a placeholder.
        for constraint, output in self.rows.values():
            constraint.read(output[constraint.seen :])
        constrain(logits, {row: constraint for row, (constraint, _) in self.rows.items()})
        return logits


class SemanticIdLogitsProcessorV2(LogitsProcessorV2):
    """For model runner V2. A step with such requests waits for four integers a row from the device;
    one without waits for nothing. Rows of drafts, in speculative decoding, are masked too."""

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        catalogues(req_states.vocab_size)
        self.states = req_states
        self.slots: dict[int, Constraint] = {}

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        constraint_of(sampling_params)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        constraint = constraint_of(sampling_params, self.states.vocab_size)
        self.slots.pop(req_idx, None)
        if constraint is not None:
            self.slots[req_idx] = constraint
        return constraint is not None

    def apply(self, logits: torch.Tensor, ctx: Any) -> torch.Tensor:
        if self.slots.keys().isdisjoint(ctx.idx_mapping_np.tolist()):
            return logits
        columns = [ctx.expanded_idx_mapping, ctx.expanded_local_pos, ctx.pos, ctx.input_ids]
        table = torch.stack([column.long() for column in columns], 1).tolist()
        constraints: dict[int, Constraint] = {}
        for row, (slot, draft, position, token) in enumerate(table):
            if slot not in self.slots:
                continue
            if draft:
                constraints[row] = constraints[row - 1].fork()
                constraints[row].read([token])
            elif self.catch_up(slot, position, token):
                constraints[row] = self.slots[slot]
        constrain(logits, constraints)
        return logits

    def catch_up(self, slot: int, position: int, token: int) -> bool:
        """Reads what a request generated up to `position`, where `token` stands; False where its
        prompt goes on behind that."""
        constraint, tokens = self.slots[slot], self.states.all_token_ids.gpu
        prompt = int(self.states.prompt_len.np[slot])
        begin = prompt + constraint.seen
        new = [token] if begin == position else tokens[slot, begin : position + 1].tolist()
        constraint.read(new)
        return position + 1 >= prompt
