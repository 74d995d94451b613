"""Loads corpora of every format with the tools that they are for: python3 check_corpora.py FORMATS

FORMATS is the binary of tasks/examples/formats.rs, which writes a small corpus a format and
container. Each is loaded by `datasets`; TRL's trainers prepare a batch of each kind, and the label
mask is held to prompt and answer; chat templates are held to those of transformers, byte by byte.
Nothing is fetched from a hub: tokenizer, templates and models are made here.

The packages of torch_environment.txt (0.6 GB to fetch, 2 GB on the disk) go into a virtual
environment in the user's cache.
"""

import ast
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import torch_environment


def say(message: str) -> None:
    print(f"corpora: {message}", file=sys.stderr)


torch_environment.enter()

import datasets
import pandas
import tokenizers
import torch
import transformers
import trl

ROWS = 12  # of a part: two shards of six
PARTS = ("train", "validation", "test")
IDS = [f"<{level}_{code}>" for level in "ab" for code in range(4)]

CHAT_TEMPLATES = {
    # All turns alike; marks the answer for `assistant_only_loss`.
    "turns": """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    # A token before all; the system's turn within the user's; texts are stripped.
    "bos": """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}
    {% set system = '<<SYS>>\\n' + messages[0]['content'] | trim + '\\n<</SYS>>\\n\\n' %}
    {% set rest = messages[1:] %}
{% else %}
    {% set system = '' %}
    {% set rest = messages %}
{% endif %}
{% for message in rest %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must take turns') }}
    {% endif %}
    {% if message['role'] == 'user' %}
{{ '[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' }}
    {% else %}
{{ ' ' + message['content'].strip() + ' ' + eos_token }}
    {% endif %}
{% endfor %}
""",
    # A system's turn where there is none, methods and filters of Python.
    "default": """\
{%- set ns = namespace(system='You are helpful.', turns=[]) -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- set ns.system = message.content -%}
    {%- else -%}
        {%- set ns.turns = ns.turns + [message] -%}
    {%- endif -%}
{%- endfor -%}
<|system|>{{ ns.system.upper() if ns.system.startswith('You are') else ns.system }}<|end|>
{% for message in ns.turns -%}
<|{{ message.role }}|>{{ message.content | tojson if message.role == 'user' else message.content }}<|end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
{%- endif -%}
""",
}


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of single bytes and the tokens of the index."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: at for at, char in enumerate(alphabet)}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=model, **special)
    tokenizer.chat_template = CHAT_TEMPLATES["turns"]
    return tokenizer


def make_model(tokenizer) -> transformers.PreTrainedModel:
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config)


def equal(what: str, got, expected) -> None:
    if got != expected:
        sys.exit(f"corpora: {what}:\n  got      {got!r}\n  expected {expected!r}")


def load(folder: pathlib.Path, cache: str) -> datasets.DatasetDict:
    loaded = datasets.load_dataset(str(folder), cache_dir=cache)
    equal(f"{folder.name}: rows", {part: len(rows) for part, rows in loaded.items()},
          {part: ROWS * (2 if folder.name.startswith("trl-dpo") else 1) for part in PARTS})
    return loaded


def turns(row: dict) -> list[tuple[str, str]]:
    """The conversation of a row of `messages`, `sharegpt`, `alpaca`, `verl` or `openonerec`."""
    if "instruction" in row:
        system = [("system", row["system"])] if row["system"] else []
        return [*system, ("user", row["instruction"]), ("assistant", row["output"])]
    if "conversations" in row:
        roles = {"system": "system", "human": "user", "gpt": "assistant"}
        return [(roles[turn["from"]], turn["value"]) for turn in row["conversations"]]
    if "reward_model" in row:
        prompt = [(turn["role"], turn["content"]) for turn in row["prompt"]]
        return [*prompt, ("assistant", row["reward_model"]["ground_truth"])]
    messages = row["messages"]
    if isinstance(messages, str):
        return [(turn["role"], turn["content"][0]["text"]) for turn in json.loads(messages)]
    return [(turn["role"], turn["content"]) for turn in messages]


def provenance(row: dict) -> dict:
    """The provenance of a row, without what is null."""
    found = row["provenance"]
    found = json.loads(found) if isinstance(found, str) else found
    return {name: value for name, value in found.items() if value is not None}


def check_loading(corpora: pathlib.Path, cache: str) -> dict[str, datasets.DatasetDict]:
    """All corpora, which must say the same in all formats and containers."""
    loaded = {folder.name: load(folder, cache) for folder in sorted(corpora.iterdir())}
    plain = loaded["messages.jsonl"]
    for name, parts in loaded.items():
        kind = name.split(".")[0]
        for part, rows in parts.items():
            if kind in ("messages", "alpaca", "llama-factory", "sharegpt", "openonerec"):
                equal(name, [turns(row) for row in rows], [turns(row) for row in plain[part]])
            if kind == "verl":
                asked = [turns(row)[:-1] for row in plain[part]]
                equal(name, [turns(row)[:-1] for row in rows], asked)
            if kind not in ("trl-dpo", "minionerec"):
                equal(name, [provenance(row) for row in rows], [provenance(row) for row in plain[part]])
    return loaded


def check_minionerec(corpora: pathlib.Path) -> None:
    """Reads a CSV as MiniOneRec does, and evaluates its lists."""
    for shard in sorted((corpora / "minionerec.csv").glob("*/*.csv")):
        for row in pandas.read_csv(shard).to_dict("records"):
            titles, keys, ids = (
                ast.literal_eval(row[f"history_item_{column}"]) for column in ("title", "id", "sid")
            )
            equal(f"{shard}: lengths", [len(titles), len(keys), len(ids)], [2, 2, 2])
            seen = dict(zip([*keys, row["item_id"]], [*titles, row["item_title"]]))
            known = {"B01": 'Pokémon "Blue"', 17: "Tetris", "17": "Tetris", "B03": "任天堂\\Switch's", "B04": "Line\nbreak"}
            equal(f"{shard}: titles", seen, {key: known[key] for key in seen})
            equal(f"{shard}: tokens", [token in IDS for token in re.findall("<.*?>", "".join(ids))], [True] * 4)


def check_llama_factory(folder: pathlib.Path, tokenizer) -> None:
    """Follows `dataset_info.json` as LLaMA-Factory does, and adds the new tokens."""
    for name, entry in json.loads((folder / "dataset_info.json").read_text()).items():
        files = sorted(str(path) for path in (folder / entry["file_name"]).iterdir())
        kind = "json" if files[0].endswith(".jsonl") else "parquet"
        rows = datasets.load_dataset(kind, data_files=files, split="train")
        equal(f"{name}: rows", len(rows), ROWS)
        equal(f"{name}: columns", set(entry["columns"].values()) - set(rows.column_names), set())
    tokens = json.loads((folder / "new_tokens.json").read_text())
    equal("new_tokens.json", tokens, IDS)
    tokenizer.add_tokens(tokens)
    equal("IDs are tokens", tokenizer.tokenize("<a_1><b_2>"), ["<a_1>", "<b_2>"])


def settings(kind: type, scratch: str, **more):
    return kind(
        output_dir=scratch, per_device_train_batch_size=4, max_steps=1, report_to=[], use_cpu=True,
        bf16=False, save_strategy="no", disable_tqdm=True, **more,
    )


def learnt(batch: dict, tokenizer) -> list[tuple[str, str]]:
    """The text without labels and the text with labels of each row of a batch."""
    rows = []
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"]):
        answer = labels != -100
        equal("labels are the answer's tokens", labels[answer].tolist(), ids[answer].tolist())
        told = ids[~answer & (mask == 1)]
        rows.append((tokenizer.decode(told), tokenizer.decode(ids[answer])))
    return rows


def batch_of(trainer) -> dict:
    return next(iter(trainer.get_train_dataloader()))


def train_step(trainer) -> None:
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def check_sft(loaded: dict, tokenizer, scratch: str) -> None:
    """SFTTrainer learns the answers of prompt-completion and messages, and nothing else."""
    rows = list(loaded["messages.jsonl"]["train"])
    end = tokenizer.eos_token
    for name in ("prompt-completion.jsonl", "prompt-completion.parquet", "messages.jsonl", "messages.parquet", "text.jsonl"):
        conversational = name.startswith("messages")
        args = settings(trl.SFTConfig, scratch, assistant_only_loss=conversational, max_length=None)
        train = loaded[name]["train"]
        trainer = trl.SFTTrainer(make_model(tokenizer), args, train_dataset=train, processing_class=tokenizer)
        told = learnt(batch_of(trainer), tokenizer)
        if name.startswith("text"):
            expected = {("", text + end) for text in train["text"]}
        elif conversational:
            texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
            answers = [row["messages"][-1]["content"] + end for row in rows]
            # The turn's last line break belongs to no one.
            expected = {(text.removesuffix(answer + "\n") + "\n", answer) for text, answer in zip(texts, answers)}
        else:
            expected = {(row["prompt"], row["completion"] + end) for row in train}
        equal(f"{name}: prompts and labels", set(told) - expected, set())
        train_step(trainer)


def check_dpo(loaded: dict, tokenizer, scratch: str) -> None:
    """DPOTrainer compares the chosen answer with the rejected one."""
    end = tokenizer.eos_token
    lists = [row["rejected"] for row in loaded["s-dpo.jsonl"]["train"]]
    for name in ("trl-dpo.jsonl", "trl-dpo.parquet"):
        train = loaded[name]["train"]
        equal(f"{name}: pairs", list(train["rejected"]), [text for texts in lists for text in texts])
        args = settings(trl.DPOConfig, scratch)
        trainer = trl.DPOTrainer(make_model(tokenizer), make_model(tokenizer), args, train_dataset=train, processing_class=tokenizer)
        batch = batch_of(trainer)
        got = []
        for ids, answer, mask in zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"]):
            got.append((tokenizer.decode(ids[(answer == 0) & (mask == 1)]), tokenizer.decode(ids[answer == 1])))
        half = len(got) // 2
        pairs = {(*chosen, *rejected) for chosen, rejected in zip(got[:half], got[half:])}
        expected = {(row["prompt"], row["chosen"] + end, row["prompt"], row["rejected"] + end) for row in train}
        equal(f"{name}: pairs of a batch", pairs - expected, set())
        train_step(trainer)


def check_grpo(loaded: dict, tokenizer, scratch: str) -> None:
    """GRPOTrainer gives the reward all that it needs with the prompt."""
    for name in ("trl-grpo.jsonl", "trl-grpo.parquet"):
        train = loaded[name]["train"]
        known = {row["sample_id"]: (row["prompt"], row["ground_truth"], row["target_codes"]) for row in train}
        equal(f"{name}: sample_id", len(known), len(train))
        asked = []

        def reward(prompts, completions, ground_truth, target_codes, sample_id, **_):
            for row in zip(sample_id, prompts, ground_truth, target_codes):
                equal(f"{name}: {row[0]}", row[1:], known[row[0]])
                asked.append(row[0])
            return [0.0] * len(completions)

        args = settings(trl.GRPOConfig, scratch, num_generations=2, max_completion_length=2)
        trainer = trl.GRPOTrainer(
            make_model(tokenizer), reward, args=args, train_dataset=train, processing_class=tokenizer
        )
        train_step(trainer)
        equal(f"{name}: rewards", len(asked), 4)


def check_chat(loaded: dict, tokenizer) -> None:
    """Rendered conversations equal those of `apply_chat_template`."""
    for name, template in CHAT_TEMPLATES.items():
        for part, rows in loaded[f"chat-{name}"].items():
            for row, messages in zip(rows, loaded["messages.jsonl"][part]["messages"]):
                render = lambda messages, **more: tokenizer.apply_chat_template(
                    messages, chat_template=template, tokenize=False, **more
                )
                equal(f"chat-{name}: text", row["text"], render(messages))
                prompt = render(messages[:-1], add_generation_prompt=True)
                equal(f"chat-{name}: prompt_text", row["prompt_text"], prompt)


def main(formats: str) -> None:
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    tokenizer = make_tokenizer()
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for name, template in CHAT_TEMPLATES.items():
            config = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token, "chat_template": template}
            (root / "models" / name).mkdir(parents=True)
            (root / "models" / name / "tokenizer_config.json").write_text(json.dumps(config))
        corpora = root / "corpora"
        subprocess.run([formats, corpora, root / "models"], check=True)
        loaded = check_loading(corpora, f"{scratch}/cache")
        say(f"{len(loaded)} corpora load, with the same rows in all of them")
        check_minionerec(corpora)
        check_llama_factory(corpora / "llama-factory.jsonl", tokenizer)
        check_llama_factory(corpora / "llama-factory.parquet", tokenizer)
        check_chat(loaded, tokenizer)
        say(f"{len(CHAT_TEMPLATES)} chat templates render as in transformers {transformers.__version__}")
        check_sft(loaded, tokenizer, scratch)
        check_dpo(loaded, tokenizer, scratch)
        check_grpo(loaded, tokenizer, scratch)
        say(f"TRL {trl.__version__} learns the answers and nothing else: SFT, DPO, GRPO")


main(sys.argv[1])
