"""`semid.vllm` in vLLM with its V1 model runner: by its engine, and by its batch alone."""

import os

os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_USE_V2_MODEL_RUNNER="0")
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR")

import random

import pytest
import torch
import vllm
from conftest import LOGITS, STOP
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.sample.logits_processor import build_logitsprocs
from vllm.v1.worker.gpu_input_batch import CachedRequestState, InputBatch
from vllm_engine import *

PROCESSOR = "semid.vllm:SemanticIdLogitsProcessor"


def test_the_manual(shop, manual, monkeypatch, capfd):
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)  # the manual sets them, to be taken back
    monkeypatch.chdir(shop.folder)
    on_cpu = 'LLM("model", dtype="float32", enforce_eager=True, '
    exec(manual("vLLM").replace('LLM("model", ', on_cpu), {})
    assert shop.is_item(capfd.readouterr().out.splitlines()[-1])


def processors(shop):
    config = EngineArgs(str(shop.folder / "model"), dtype="float32").create_engine_config()
    return build_logitsprocs(config, torch.device("cpu"), False, False, [PROCESSOR])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SEMID_INDEX", "", "expected paths of index files in the environment variable"),
        ("SEMID_TOKENIZER", "large.json", "the model has 64 logits, but large.json numbers tokens"),
    ],
)
def test_a_server_that_cannot_start(shop, monkeypatch, name, value, words):
    monkeypatch.chdir(shop.folder)
    monkeypatch.setenv(name, value)
    with pytest.raises((OSError, ValueError)) as problem:
        processors(shop)
    assert words in str(problem.value)


def test_a_batch_that_changes(shop):
    """Requests come, go, are moved and swapped in vLLM's own batch, at random."""
    rng = random.Random(0)
    wanted = shop.requests()
    built = processors(shop)
    batch = InputBatch(
        max_num_reqs=6,
        max_model_len=64,
        max_num_batched_tokens=64,
        device=torch.device("cpu"),
        vocab_size=LOGITS,
        block_sizes=[16],
        max_num_blocks_per_req=[4],
        logitsprocs=built,
        logitsprocs_need_output_token_ids=True,
    )
    put_off, running, masked = [], {}, 0
    for step in range(500):
        for name, request in list(running.items()):
            said = request.output_token_ids
            over = STOP in said or len(said) > 30
            if over or rng.random() < 0.1:
                batch.remove_request(name)
                del running[name]
                put_off += [] if over else [request]
        while len(running) < 6 and rng.random() < 0.6:
            # One that was put off comes back with what it has said.
            again = put_off and rng.random() < 0.5
            name = f"{step}-{len(running)}"
            request = put_off.pop(0) if again else fresh(name, *rng.choice(wanted))
            batch.add_request(request)
            running[request.req_id] = request
        batch.condense()
        if len(running) > 1 and rng.random() < 0.5:
            batch.swap_states(*rng.sample(range(len(running)), 2))
        batch.refresh_metadata()

        before = torch.randn(len(running), LOGITS)
        logits = before.clone()
        for processor in built.non_argmax_invariant:
            logits = processor.apply(logits)
        for row, name in enumerate(batch.req_ids):
            wishes = running[name].sampling_params.extra_args
            said = running[name].output_token_ids
            allowed = sorted(shop.allowed(wishes, said))
            expected = torch.full((LOGITS,), -torch.inf)
            expected[allowed] = before[row, allowed]
            assert torch.equal(logits[row], expected), (step, row, wishes, said)
            masked += len(allowed) < LOGITS
            # Now and then somebody else chooses a token; free text comes to the trigger at last.
            other = wishes.get("semid_trigger", []) if len(allowed) == LOGITS else range(LOGITS)
            forced = other and rng.random() < (0.5 if len(allowed) == LOGITS else 0.05)
            said.append(rng.choice(other if forced else allowed))
    assert masked > 200


def fresh(name, prompt, wishes):
    params = vllm.SamplingParams(extra_args=wishes, stop_token_ids=[STOP])
    return CachedRequestState(
        req_id=name,
        prompt_token_ids=prompt,
        mm_features=[],
        sampling_params=params,
        generator=None,
        block_ids=([0],),
        num_computed_tokens=len(prompt),
        output_token_ids=[],
    )
