"""`semid.sglang` in SGLang: by its engine on a CPU, and by its batches alone."""

import os

os.environ.update(HF_HUB_OFFLINE="1")

import random

import pytest
import sglang
import torch
from conftest import LOGITS, STOP
from semid.sglang import SemanticIdLogitProcessor
from sglang.srt.layers.sampler import apply_custom_logit_processor
from sglang.srt.managers.schedule_batch import FINISH_ABORT, Req, ScheduleBatch
from sglang.srt.runtime_context import get_context
from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo
from sglang.srt.sampling.sampling_params import SamplingParams

ON_CPU = {"device": "cpu", "attention_backend": "torch_native", "dtype": "float32"}
ON_CPU |= {"sampling_backend": "pytorch", "disable_cuda_graph": True, "max_total_tokens": 4096}
PROCESSOR = SemanticIdLogitProcessor.to_str()


@pytest.fixture(scope="module")
def engine(shop):
    engine = sglang.Engine(
        model_path=str(shop.folder / "model"),
        enable_custom_logit_processor=True,
        disable_overlap_schedule=True,
        max_running_requests=4,
        **ON_CPU,
    )
    yield engine
    engine.shutdown()


def test_an_answer_is_an_item(shop, engine):
    wishes = {"semid": "shop", "semid_deny": ["item-0"]}
    for _ in range(5):
        answer = engine.generate(
            "buy next:", {"custom_params": wishes}, custom_logit_processor=PROCESSOR
        )
        *tokens, end = answer["output_ids"]
        assert end == STOP and answer["meta_info"]["finish_reason"]["type"] == "stop"
        assert tokens in list(shop.spelled["shop"].values())[1:]


def test_answers(shop, engine):
    """Requests say what transformers says under the masks of the oracle."""
    requests = shop.requests() * 3
    answers = engine.generate(
        input_ids=[prompt for prompt, _ in requests],
        sampling_params=[
            {"temperature": 0, "max_new_tokens": 20, "custom_params": wishes}
            for _, wishes in requests
        ],
        custom_logit_processor=PROCESSOR,
    )
    for (prompt, wishes), answer in zip(requests, answers, strict=True):
        assert answer["output_ids"] == shop.answer(prompt, wishes, 20), wishes


def test_bad_wishes(engine, bad):
    wishes, words = bad
    with pytest.raises(ValueError) as problem:
        engine.generate("buy", {"custom_params": wishes}, custom_logit_processor=PROCESSOR)
    assert words in str(problem.value)


def test_the_manual(shop, manual, monkeypatch, capfd):
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)  # the manual sets them, to be taken back
    monkeypatch.chdir(shop.folder)
    on_cpu = f'model_path="model", **{ON_CPU}, '
    program = manual("SGLang").replace('model_path="model", ', on_cpu)
    exec(program + "    engine.shutdown()\n", {"__name__": "__main__"})
    assert any(shop.is_item(line) for line in capfd.readouterr().out.splitlines())


def test_it_travels_as_text():
    processor = CustomLogitProcessor.from_str(PROCESSOR)
    assert type(processor) is SemanticIdLogitProcessor
    logits = torch.randn(2, LOGITS)
    assert torch.equal(processor(logits.clone(), [None, {"temper": 1}]), logits)


@pytest.fixture
def schedule():
    """The configuration of a server, as SGLang's own tests publish one."""
    options = {"enable_custom_logit_processor": True, "disable_overlap_schedule": True}
    with get_context().override_server_args(**options):
        yield


def test_batches_that_change(shop, schedule):
    """Requests come, go and are merged in SGLang's own batches, at random."""
    rng = random.Random(0)
    wanted = shop.requests()
    running, masked = [], 0
    info = None
    for step in range(300):
        over = [STOP in request.output_ids or len(request.output_ids) > 30 for request in running]
        kept = [row for row, gone in enumerate(over) if not gone and rng.random() > 0.1]
        if info is not None and len(kept) < len(running):
            info.filter_batch(kept, torch.tensor(kept, dtype=torch.long))
            running = [running[row] for row in kept]
            info = info if running else None
        if len(running) < 6 and rng.random() < 0.6 or not running:
            new = [fresh(f"{step}-{row}", *rng.choice(wanted)) for row in range(rng.randint(1, 3))]
            batch = ScheduleBatch(reqs=new, device="cpu")
            batch.sampling_info = SamplingBatchInfo.from_schedule_batch(batch, LOGITS)
            if info is None:
                info = batch.sampling_info
            else:
                info.merge_batch(batch.sampling_info)
            running += new

        before = torch.randn(len(running), LOGITS)
        logits = before.clone()
        if info.has_custom_logit_processor:
            apply_custom_logit_processor(logits, info)
        for row, request in enumerate(running):
            wishes = request.wishes
            allowed = sorted(shop.allowed(wishes, list(request.output_ids)))
            expected = torch.full((LOGITS,), -torch.inf)
            expected[allowed] = before[row, allowed]
            assert torch.equal(logits[row], expected), (step, row, wishes, request.output_ids)
            assert request.to_finish is None
            masked += len(allowed) < LOGITS
            # Now and then somebody else chooses a token; free text comes to the trigger at last.
            other = wishes.get("semid_trigger", []) if len(allowed) == LOGITS else range(LOGITS)
            forced = other and rng.random() < (0.5 if len(allowed) == LOGITS else 0.05)
            request.output_ids.append(rng.choice(other if forced else allowed))
    assert masked > 200


def fresh(name, prompt, wishes):
    params = SamplingParams(stop_token_ids=[STOP], custom_params=wishes)
    request = Req(name, "", prompt, params, custom_logit_processor=PROCESSOR if wishes else None)
    request.wishes = wishes
    return request


def test_what_would_be_wrong_is_aborted(shop, schedule):
    processor = SemanticIdLogitProcessor()
    request = fresh("drafts", [3], {"semid": "shop"})
    params = request.sampling_params.custom_params
    processor(torch.zeros(2, LOGITS), [params, params])
    assert isinstance(request.to_finish, FINISH_ABORT)
    assert request.to_finish.message == "semid does not go with speculative decoding"

    small = fresh("small", [3], {"semid": "shop"})
    processor(torch.zeros(1, 16), [small.sampling_params.custom_params])
    assert small.to_finish.message.startswith("the model has 16 logits, but ")

    with get_context().override_server_args(disable_overlap_schedule=False):
        overlapped = fresh("overlapped", [3], {"semid": "shop"})
        processor(torch.zeros(1, LOGITS), [overlapped.sampling_params.custom_params])
    assert "--disable-overlap-schedule" in overlapped.to_finish.message
