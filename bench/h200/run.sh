#!/bin/sh
# Figures on a GPU: ours and PyTorch's in one run. Needs Deno and a Python with torch, transformers and peft.
#   OUT=out/h200 PYTHON=python3 bench/h200/run.sh [--tiny]
set -eu
cd "$(dirname "$0")/../.."
out=${OUT:-out/h200}
mkdir -p "$out"
"${PYTHON:-python3}" bench/h200/torch_side.py "$@" > "$out/torch.jsonl"
"${DENO:-deno}" run -A bench/h200/ours.ts "$@" > "$out/ours.jsonl"
"${DENO:-deno}" run -A bench/h200/table.ts "$out/ours.jsonl" "$out/torch.jsonl" > "$out/table.md"
cat "$out/table.md"
