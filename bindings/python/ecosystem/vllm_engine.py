"""Tests by vLLM's engine, for the files that choose a model runner and its PROCESSOR."""

import pytest
import vllm
from conftest import LOGITS, STOP
from vllm.exceptions import VLLMValidationError

__all__ = ["llm", "test_an_answer_is_an_item", "test_masks_and_answers", "test_bad_wishes"]

#: This build of vLLM has no 16-bit arithmetic for every CPU.
ON_CPU = {"dtype": "float32", "enforce_eager": True}


@pytest.fixture(scope="module")
def llm(shop, request):
    """So short of everything that requests wait, are put off and begin again, and prompts are read
    in pieces."""
    return vllm.LLM(
        str(shop.folder / "model"),
        logits_processors=[request.module.PROCESSOR],
        max_num_seqs=4,
        max_model_len=48,
        max_num_batched_tokens=16,
        block_size=32,
        num_gpu_blocks_override=4,
        max_logprobs=-1,
        logprobs_mode="processed_logits",
        disable_log_stats=False,
        **ON_CPU,
    )


def test_an_answer_is_an_item(shop, llm):
    wishes = {"semid": "shop", "semid_deny": ["item-0"]}
    params = vllm.SamplingParams(temperature=1, seed=0, n=5, extra_args=wishes)
    (answer,) = llm.generate("buy next:", params)
    for item in answer.outputs:
        *tokens, end = item.token_ids
        assert end == STOP and item.finish_reason == "stop"
        assert tokens in list(shop.spelled["shop"].values())[1:]


def test_masks_and_answers(shop, llm):
    """Every step of every request has the mask of the oracle, and says what transformers says."""
    requests = shop.requests() * 3
    prompts = [{"prompt_token_ids": prompt} for prompt, _ in requests]
    params = [
        vllm.SamplingParams(temperature=0, max_tokens=20, logprobs=-1, extra_args=wishes)
        for _, wishes in requests
    ]
    for (prompt, wishes), result in zip(requests, llm.generate(prompts, params), strict=True):
        (said,) = result.outputs
        tokens = list(said.token_ids)
        for step, logits in enumerate(said.logprobs):
            masked = {token for token, logit in logits.items() if logit.logprob == float("-inf")}
            assert set(range(LOGITS)) - masked == shop.allowed(wishes, tokens[:step])
        assert tokens == shop.answer(prompt, wishes, 20)
    counters = {metric.name: metric for metric in llm.get_metrics()}
    assert counters["vllm:num_preemptions"].value > 0


def test_bad_wishes(llm, bad):
    wishes, words = bad
    with pytest.raises(VLLMValidationError) as problem:
        llm.generate("buy", vllm.SamplingParams(extra_args=wishes))
    assert words in str(problem.value)
