"""Holds our SmolLM2-135M against that of transformers: check_smollm.py SMOLLM MODEL.gguf [--write]

SMOLLM is the example of the crate `semid-recommender`. It reads the GGUF file, which smollm.py
fetches, and writes it as a Hugging Face folder. The same file is read by transformers, and so is the
folder: tokens of some texts must be the same, weights and logits nearly so. With --write the
figures for the test of the crate go into fixtures/recommender/smollm.jsonl.

Packages go into a virtual environment in the user's cache.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch_environment

torch_environment.enter()

import safetensors.torch
import torch
import transformers

TEXTS = [
    "The capital of France is",
    "Tetris (1989), Super Mario Bros. and 12345 other games; it's   not\n\n\tthe same!",
    "<|im_start|>user\nWhat shall I play next?<|im_end|>\n<|im_start|>assistant\n",
    " Pokémon émotions 東京 🎮 can't",
]
LIMIT = 1e-4
READER = "gguf==0.19.0"  # transformers reads such files with it
FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "recommender" / "smollm.jsonl"


def main(example: str, file: str, write: bool) -> None:
    path = pathlib.Path(file).resolve()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as packages:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-cache-dir"]
        subprocess.run([*pip, "--target", packages, READER], check=True)
        sys.path.append(packages)
        subprocess.run([example, path, folder, *TEXTS], check=True)
        ours = safetensors.torch.load_file(f"{folder}/logits.safetensors")
        sources = {
            "their reading of the file": (path.parent, {"gguf_file": path.name}),
            "our folder": (folder, {}),
        }
        golden = [compare(name, ours, *source) for name, source in sources.items()]
    if write:
        FIXTURE.write_text("".join(json.dumps(text) + "\n" for text in golden[0]))


def compare(name: str, ours: dict[str, torch.Tensor], folder, options: dict[str, str]) -> list:
    """Ends the script if something differs; gives the figures of each text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    model.eval()
    golden = []
    for number, text in enumerate(TEXTS):
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokens != ours[f"tokens.{number}"].tolist():
            sys.exit(f"{name}: {text!r}: got {ours[f'tokens.{number}'].tolist()}, expected {tokens}")
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0]
        difference = (logits - ours[f"logits.{number}"]).abs().max().item()
        print(f"{name}: {len(tokens)} tokens, logits differ by {difference:.1e} at most")
        if not difference < LIMIT:
            sys.exit(f"expected less than {LIMIT}")
        golden.append({"text": text, "tokens": tokens, "logits": logits[-1, :8].tolist()})
    return golden


if __name__ == "__main__":
    main(*sys.argv[1:3], "--write" in sys.argv)
