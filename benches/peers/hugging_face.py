"""`semid.hf.generate_items` beside `generate` of transformers with a trie callback, and what the Python
layer costs: python3 hugging_face.py

Needs the wheel `semid`, torch and transformers. The model has the shape of SmolLM2-135M and random
weights; 4 prompts of 256 tokens, 20 beams, 4 levels of 256 codes, 100,000 items. Each way runs in a
process of its own, so that its peak of memory is its own.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

# A torch for CUDA on a machine without one finds its libraries when they are called, so never.
sys.setdlopenflags(os.RTLD_LAZY)

import numpy
import semid
import torch
import transformers
from semid import hf
from semid.torch import DeviceTrie

LEVELS, CODES, WORDS, PROMPTS, LENGTH, BEAMS, RESULTS = 4, 256, 49_152, 4, 256, 20, 10
WAYS = ["full-vocab", "level", "prefill", "generate"]


def catalogue(items: int, words: int) -> tuple[numpy.ndarray, semid.Trie, semid.TokenMap]:
    drawn = numpy.random.default_rng(0).integers(0, CODES, (items, LEVELS), dtype=numpy.uint16)
    codes = numpy.unique(drawn, axis=0)
    index = semid.Index.build([str(row) for row in range(len(codes))], codes, [CODES] * LEVELS)
    firsts = [words + level * CODES for level in range(LEVELS)]
    return codes, semid.Trie(index), semid.TokenMap.ranges(index, firsts, words + LEVELS * CODES)


def language_model(vocabulary: int) -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0, initializer_range=0.05,
    )
    return transformers.LlamaForCausalLM(config).eval()


def dict_trie(codes: numpy.ndarray):
    """The callback that people write: a dict of dicts."""
    root: dict = {}
    for path in codes.tolist():
        node = root
        for level, code in enumerate(path):
            node = node.setdefault(WORDS + level * CODES + code, {})

    def allowed(batch_id, input_ids):
        node = root
        for token in input_ids[LENGTH:].tolist():
            node = node.get(token, {})
        return list(node) or [0]

    return allowed


def run(way: str) -> None:
    """One way, once warm: seconds, peak of memory above that of the loaded model, the items found."""
    codes, trie, tokens = catalogue(100_000, WORDS)
    model = language_model(tokens.vocabulary)
    prompts = torch.randint(0, WORDS, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts)}
    allowed = dict_trie(codes) if way == "generate" else None
    with torch.inference_mode():
        model(input_ids=prompts[:1, :8])
    found = scores = None
    start = time.perf_counter()
    if way == "generate":
        out = model.generate(
            **inputs, num_beams=BEAMS, num_return_sequences=RESULTS, max_new_tokens=LEVELS,
            do_sample=False, length_penalty=0.0, output_scores=True, return_dict_in_generate=True,
            prefix_allowed_tokens_fn=allowed,
        )
        spelled = out.sequences[:, LENGTH:] - WORDS - CODES * torch.arange(LEVELS)
        found = spelled.view(PROMPTS, RESULTS, LEVELS).tolist()
        scores = out.sequences_scores.tolist()
    elif way == "prefill":
        with torch.inference_mode():
            model(**inputs, logits_to_keep=1)
    else:
        outcomes = hf.generate_items(
            model, inputs, RESULTS, trie=trie, tokens=tokens, beams=BEAMS, normalizer=way
        )
        found = [[hit.codes for hit in outcome.hits] for outcome in outcomes]
        scores = [hit.score for outcome in outcomes for hit in outcome.hits]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"seconds": seconds, "peak": peak, "found": found, "scores": scores}))


def compare_generation() -> None:
    told = {}
    for way in WAYS:
        out = subprocess.run([sys.executable, __file__, way], capture_output=True, check=True)
        told[way] = json.loads(out.stdout)
        print(f"  {way:11} {told[way]['seconds']:6.2f} s, peak {told[way]['peak']:5.0f} MB")
    ours, theirs = told["full-vocab"], told["generate"]
    off = max(abs(a - b) for a, b in zip(ours["scores"], theirs["scores"], strict=True))
    print(
        f"  {theirs['seconds'] / ours['seconds']:.1f} times as fast, "
        f"{ours['peak'] / theirs['peak']:.2f} of the memory, "
        f"same items: {ours['found'] == theirs['found']}, scores within {off:.0e}"
    )


def median(of, rounds: int = 15) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        of()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_layer() -> None:
    codes, trie, tokens = catalogue(1_000_000, 32_000)
    prefix = trie.find(codes[7][:2].tolist())
    calls = 20_000
    seconds = median(lambda: [trie.children(prefix) for _ in range(calls)]) / calls
    print(f"  Trie.children: {seconds * 1e6:.2f} us")

    rows = torch.tensor(codes[:: len(codes) // 400][:400].astype(numpy.int64))
    offsets = 32_000 + CODES * torch.arange(LEVELS)
    scores = torch.randn(400, tokens.vocabulary)
    for level in range(1, LEVELS):
        sequences = torch.cat([torch.zeros(400, 8, dtype=torch.long), (rows + offsets)[:, :level]], 1)
        processor = hf.SemanticIdLogitsProcessor(trie, tokens, prompt_length=8)
        mask = torch.where(processor(sequences, scores).isfinite(), 0.0, -torch.inf)
        ours, add = median(lambda: processor(sequences, scores)), median(lambda: scores + mask)
        print(
            f"  processor, 400 x {tokens.vocabulary}, level {level}: {ours * 1e3:.2f} ms, "
            f"adding a mask {add * 1e3:.2f} ms, ratio {ours / add:.2f}"
        )


class Transitions:
    """A step by a sparse transition matrix, STATIC's method: a log-softmax of all logits, then the
    row of each state, as wide as the widest of its level."""

    def __init__(self, trie: DeviceTrie) -> None:
        self.branches, tokens, self.states = trie.branches, [], [0]
        rows = [torch.tensor([len(trie.offsets(0).diff())])]
        for level in range(LEVELS):
            own = trie.get_buffer(f"token_{level}")
            tokens.append(own)
            self.states.append(self.states[-1] + len(trie.offsets(level)) - 1)
            rows[level:] = [trie.offsets(level).diff()]
        self.tokens = torch.cat(tokens)
        self.indptr = torch.nn.functional.pad(torch.cat(rows).cumsum(0), (1, 0))

    def step(self, level, logits, state, scores, beams):
        log_softmax = logits.log_softmax(-1)
        row = state + self.states[level]
        child = torch.arange(self.branches[level])
        at = self.indptr[row][..., None] + child
        real = at < self.indptr[row + 1][..., None]
        at = at.clamp(max=len(self.tokens) - 1)
        token = self.tokens[at]
        total = scores[..., None] + log_softmax.gather(-1, token).masked_fill(~real, -torch.inf)
        best, found = total.flatten(1).topk(beams)
        return best, token.flatten(1).gather(1, found), found // len(child)


def measure_step() -> None:
    codes, trie, tokens = catalogue(1_000_000, 32_000)
    ours = DeviceTrie(trie.index, tokens)
    theirs = Transitions(ours)
    for level in range(1, LEVELS):
        rows = torch.tensor(codes[:: len(codes) // 400][:400, :level].astype(numpy.int64)).tolist()
        state = torch.tensor([trie.find(prefix).node for prefix in rows]).view(8, 50)
        logits, scores = torch.randn(8, 50, tokens.vocabulary), torch.randn(8, 50)
        found = ours.step(level, logits, state, scores, 50)
        best, *_ = theirs.step(level, logits, state, scores, 50)
        torch.testing.assert_close(found.scores, best)
        mine = median(lambda: ours.step(level, logits, state, scores, 50))
        other = median(lambda: theirs.step(level, logits, state, scores, 50))
        print(
            f"  torch step, 8 x 50, level {level}: {mine * 1e3:.2f} ms, a transition matrix "
            f"{other * 1e3:.2f} ms, ratio {mine / other:.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(2)
    if len(sys.argv) > 1:
        run(sys.argv[1])
    else:
        print("generation, SmolLM2-135M's shape:")
        compare_generation()
        print("1,000,000 items:")
        measure_layer()
        measure_step()
