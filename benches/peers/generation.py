"""Ten items for each prompt by a language model: generation.py serves one way, which
`hugging_face.py` asks.

The model has the shape of SmolLM2-135M and random weights. semid-recommender, which is Rust, gets it
in the files of a Hugging Face folder.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import contestant

import semid
import torch
import transformers
from semid import hf

import catalogue
import prefix_callbacks
from catalogue import CODES, LEVELS

WORDS, RESULTS = 49_152, 10
VOCABULARY = WORDS + LEVELS * CODES


class Setting(NamedTuple):
    way: str
    items: int
    beams: int
    #: Prompts `[B, S]`.
    prompts: torch.Tensor
    model: transformers.LlamaForCausalLM


def prepare(
    way: str, items: int, beams: int, prompts: int, length: int, layers: int, threads: int
) -> Setting:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0, initializer_range=0.05,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, WORDS, (prompts, length), generator=generator)
    with torch.inference_mode():
        model(input_ids=drawn[:1, :8])
    return Setting(way, items, beams, drawn, model)


def build(setting: Setting) -> Callable[..., contestant.Answer]:
    codes = catalogue.codes(setting.items)
    way = WAYS[setting.way](setting, codes)

    def generate() -> contestant.Answer:
        start = time.perf_counter()
        found, scores, *told = way()
        answer = {"seconds": time.perf_counter() - start, "found": found, "scores": scores}
        return answer | dict(*told)

    return generate


def prefill(setting: Setting, codes):
    def read():
        with torch.inference_mode():
            setting.model(input_ids=setting.prompts, logits_to_keep=1)
        return None, None

    return read


def generate(setting: Setting, codes):
    """`generate` with the callback that people write."""
    length = setting.prompts.shape[1]
    first = WORDS + CODES * torch.arange(LEVELS)
    allowed = prefix_callbacks.dict_trie(codes.astype("int64") + first.numpy(), length)

    def run():
        out = setting.model.generate(
            input_ids=setting.prompts, attention_mask=torch.ones_like(setting.prompts),
            num_beams=setting.beams, num_return_sequences=RESULTS, max_new_tokens=LEVELS,
            do_sample=False, length_penalty=0.0, output_scores=True, return_dict_in_generate=True,
            prefix_allowed_tokens_fn=allowed,
        )
        spelled = out.sequences[:, length:] - first
        return spelled.view(-1, RESULTS, LEVELS).tolist(), out.sequences_scores.tolist()

    return run


def generate_items(normalizer: str):
    def prepare(setting: Setting, codes):
        keys = [str(row) for row in range(len(codes))]
        index = semid.Index.build(keys, codes, [CODES] * LEVELS)
        firsts = [WORDS + level * CODES for level in range(LEVELS)]
        trie, tokens = semid.Trie(index), semid.TokenMap.ranges(index, firsts, VOCABULARY)
        inputs = {"input_ids": setting.prompts, "attention_mask": torch.ones_like(setting.prompts)}

        def run():
            outcomes = hf.generate_items(
                setting.model, inputs, RESULTS, trie=trie, tokens=tokens, beams=setting.beams,
                normalizer=normalizer,
            )
            found = [[hit.codes for hit in outcome.hits] for outcome in outcomes]
            return found, [hit.score for outcome in outcomes for hit in outcome.hits]

        return run

    return prepare


def semid_recommender(setting: Setting, codes):
    """A program, whose seconds and megabytes are those that it tells: reading its files is not
    counted."""
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name)
    setting.model.save_pretrained(path)
    keys = [str(row) for row in range(len(codes))]
    semid.Index.build(keys, codes, [CODES] * LEVELS).save(path / "index.safetensors")
    (path / "prompts.json").write_text(json.dumps(setting.prompts.tolist()))
    program = PROGRAMS / "generate"
    files = [path, path / "index.safetensors", path / "prompts.json"]
    command = [program, *files, str(WORDS), str(torch.get_num_threads()), str(setting.beams)]

    def run():
        assert folder.name  # It lives as long as this does.
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        own = {"seconds": told["seconds"], "own_peak": told["peak"]}
        return told["found"], told["scores"], own

    return run


PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / "target" / "release" / "examples"
WAYS = {
    "prefill": prefill,
    "generate": generate,
    "full-vocab": generate_items("full-vocab"),
    "level": generate_items("level"),
    "rust": semid_recommender,
}

if __name__ == "__main__":
    contestant.serve(prepare, build)
