"""`semid.vllm` in vLLM with model runner V2, whose Triton kernels run in Triton's interpreter."""

import os

os.environ.update(TRITON_INTERPRET="1", VLLM_USE_V2_MODEL_RUNNER="1")
os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0")
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR")

from triton.backends import backends

# vLLM asks whether Triton was built for CPUs. The interpreter needs no such build.
backends["cpu"] = backends["nvidia"]

import numpy
import torch
import vllm
from conftest import LOGITS, STOP
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.worker.gpu.sample.logits_processor import (
    LogitsContext,
    build_custom_logits_processors,
)
from vllm.v1.worker.gpu.states import RequestState
from vllm_engine import *

PROCESSOR = "semid.vllm:SemanticIdLogitsProcessorV2"


def test_drafts(shop, llm):
    """With speculative decoding a request has a row for each token of its draft, behind that of its
    last token. (The engine's own n-gram drafter does not run in Triton's interpreter.)"""
    config = EngineArgs(str(shop.folder / "model"), dtype="float32").create_engine_config()
    states = RequestState(
        max_num_reqs=4,
        max_model_len=64,
        max_num_batched_tokens=64,
        num_speculative_steps=2,
        vocab_size=LOGITS,
        device=torch.device("cpu"),
    )
    (processor,) = build_custom_logits_processors(config, states, False, [PROCESSOR])
    item = shop.spelled["shop"]["item-9"]
    foreign = [item[0], item[0]]
    requests = [
        # wishes, what was said, drafts
        ({"semid": "shop"}, item[:1], item[1:]),
        ({"semid": "shop"}, [], foreign),
        ({}, [7, 7], [7]),
        ({"semid": "shop", "semid_trigger": [7, 6]}, [5, 7], [6, item[0]]),
    ]
    slots, rows, prompt = [], [], [3, 4, 5]
    for name, (wishes, said, drafts) in enumerate(requests):
        states.add_request(str(name), len(prompt), prompt + said, 0, 16)
        slot = states.req_id_to_index[str(name)]
        params = vllm.SamplingParams(extra_args=wishes, stop_token_ids=[STOP])
        assert processor.add_request(slot, params) == bool(wishes)
        slots.append(slot)
        text = prompt + said + drafts
        last = len(prompt + said) - 1
        rows += [(slot, at, last + at, text[last + at]) for at in range(len(drafts) + 1)]
    states.apply_staged_writes()
    processor.apply_staged_writes()
    slot_of, place, position, token = torch.tensor(rows, dtype=torch.int32).unbind(1)
    context = LogitsContext(
        expanded_idx_mapping=slot_of,
        idx_mapping=torch.tensor(slots, dtype=torch.int32),
        idx_mapping_np=numpy.array(slots, dtype=numpy.int32),
        expanded_local_pos=place,
        input_ids=token,
        pos=position.long(),
        seq_lens_upper_bound_np=numpy.full(len(slots), 64, dtype=numpy.int32),
    )
    # The step is made again, as the drafts of the first time were not taken.
    for _ in range(2):
        logits = processor.apply(torch.zeros(len(rows), LOGITS), context)
        expected = [
            shop.allowed(wishes, said + drafts[:taken])
            for wishes, said, drafts in requests
            for taken in range(len(drafts) + 1)
        ]
        assert [set(row.isfinite().nonzero().flatten().tolist()) for row in logits] == expected
