"""A shop, for all servers: a tiny model of random weights, its tokenizer, and two indexes."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re

import numpy
import pytest
import semid
import tokenizers
import torch
import transformers

WORDS = ["<unk>", "<s>", "</s>", "buy", "next", ":", "think", "so"]
STOP = WORDS.index("</s>")
LOGITS = 64  # of the model: half are no token of the tokenizer


@dataclasses.dataclass
class Shop:
    folder: pathlib.Path
    #: By which servers find the indexes.
    environment: dict[str, str]
    #: The tokens of each item, of each index.
    spelled: dict[str, dict[str, list[int]]]
    network: transformers.LlamaForCausalLM

    def allowed(self, wishes: dict, output: list[int]) -> set[int]:
        """The tokens that may follow what was generated: the plain meaning, from scratch."""
        everything = set(range(LOGITS))
        if not wishes:
            return everything
        if trigger := wishes.get("semid_trigger"):
            width = len(trigger)
            places = range(width, len(output) + 1)
            begin = next((at for at in places if output[at - width : at] == trigger), None)
            if begin is None:
                return everything
            output = output[begin:]
        spelled = self.spelled[wishes["semid"]]
        keys = set(wishes.get("semid_allow", spelled)) - set(wishes.get("semid_deny", []))
        items = [spelled[key] for key in keys]
        depth = len(output)
        following = {item[depth] for item in items if item[:depth] == output and depth < len(item)}
        end = wishes.get("semid_end", [STOP])
        return following or set(end) or everything

    def answer(self, prompt: list[int], wishes: dict, tokens: int) -> list[int]:
        """What the model says, greedily, of what is allowed."""
        output: list[int] = []
        while len(output) < tokens and STOP not in output:
            with torch.inference_mode():
                logits = self.network(torch.tensor([prompt + output])).logits[0, -1]
            output.append(max(self.allowed(wishes, output), key=lambda token: float(logits[token])))
        return output

    def is_item(self, text: str) -> bool:
        codes = re.findall(r"<\w_\d>", text)
        first = len(WORDS)
        spelled = [first + 8 * level + int(code[3]) for level, code in enumerate(codes)]
        return spelled in self.spelled["shop"].values()

    def requests(self) -> list[tuple[list[int], dict]]:
        """Prompts, and what is wished for."""
        prompt = [3, 4, 5] * 9
        said = self.answer(prompt, {}, 8)
        shop = {"semid": "shop"}
        wished = [
            {},
            shop | {"semid_trigger": said[2:4]},
            shop | {"semid_trigger": said[:1], "semid_end": [7]},
            shop | {"semid_trigger": [5, 5, 5, 5]},
            shop | {"semid_end": []},
            shop,
            shop | {"semid_allow": ["item-3", "item-4", "item-5"]},
            shop | {"semid_deny": [f"item-{row}" for row in range(30)]},
            shop | {"semid_allow": ["item-7", "item-8"], "semid_deny": ["item-8"]},
            {"semid": "films"},
            {"semid": "films", "semid_deny": ["item-0"], "semid_end": [6, STOP]},
        ]
        return [(prompt, wishes) for wishes in wished] + [([4], shop)]


#: Wishes that cannot be fulfilled, and what a server says; tests/test_serving.py has more.
BAD = [
    ({"semid": "shoes"}, "got 'shoes' as `semid`, expected the name of an index: 'shop', 'films'"),
    ({"semid": "shop", "semid_deny": ["item-99"]}, "'shop' has no item 'item-99'"),
    ({"semid": "shop", "semid_allow": []}, "none of the 60 items is allowed"),
]


@pytest.fixture(params=BAD, ids=lambda bad: bad[1])
def bad(request):
    return request.param


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    rng = numpy.random.default_rng(0)
    drawn = rng.choice(8**3, size=60, replace=False)
    codes = numpy.stack([drawn // 64, drawn // 8 % 8, drawn % 8], 1).astype(numpy.uint16)
    names = [[f"<{level}_{code}>" for code in range(8)] for level in "abc"]
    first = len(WORDS)
    spelled = {}
    for name, levels in (("shop", 3), ("films", 2)):
        paths = numpy.unique(codes[:, :levels], axis=0)
        keys = [f"item-{row}" for row in range(len(paths))]
        semid.Index.build(keys, paths, [8] * levels).save(folder / f"{name}.safetensors")
        tokens = paths.astype(int) + first + 8 * numpy.arange(levels)
        spelled[name] = dict(zip(keys, tokens.tolist(), strict=True))

    model = tokenizers.models.WordLevel({w: at for at, w in enumerate(WORDS)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_tokens([name for level in names for name in level])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=LOGITS,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        head_dim=32,
        max_position_embeddings=64,
        bos_token_id=WORDS.index("<s>"),
        eos_token_id=STOP,
        initializer_range=0.5,
    )
    network = transformers.LlamaForCausalLM(config).eval()
    network.lm_head.weight.data[len(tokenizer.get_vocab()) :] = 0
    network.save_pretrained(folder / "model")

    tokenizer.add_tokens([f"more-{at}" for at in range(LOGITS)])
    tokenizer.save(str(folder / "large.json"))

    files = [str(folder / f"{name}.safetensors") for name in spelled]
    environment = {
        "SEMID_INDEX": os.pathsep.join(files),
        "SEMID_TOKENIZER": str(folder / "model" / "tokenizer.json"),
    }
    os.environ.update(environment)
    return Shop(folder, environment, spelled, network)


@pytest.fixture(scope="session")
def manual():
    """The program of the README below a heading."""
    readme = pathlib.Path(__file__).parent.parent / "README.md"

    def program(heading: str) -> str:
        _, section = readme.read_text(encoding="utf-8").split(f"\n### {heading}\n")
        found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
        assert found, heading
        return found[1]

    return program
