#!/usr/bin/env bash
# Prove the package on one GPU in at most 8 minutes: tests, images, speed, memory, training.
#
#   benchmarks/gpu_wheels.sh                     beforehand, where there is a package index
#   OUT=results benchmarks/gpu.sh                on the machine with the GPU; it needs no network
#   OUT=results benchmarks/gpu.sh --dry-run      every stage on a CPU at small sizes
#   OUT=results benchmarks/gpu.sh --stages eager compiled
#
# $OUT/gpu.md grows while it runs. Exit code 0: all stages ended well; 1: some did not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT=${OUT:-outputs/gpu}
export GPU_WORK=${GPU_WORK:-${TMPDIR:-/tmp}/labml_sd_gpu}
export PYTHONPATH=$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 TQDM_DISABLE=1 HF_HUB_OFFLINE=1 MPLBACKEND=agg
export TORCHINDUCTOR_CACHE_DIR=$GPU_WORK/inductor TRITON_CACHE_DIR=$GPU_WORK/triton
mkdir -p "$OUT" "$GPU_WORK"

has() {
  python3 -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))' "$@"
}

if ! has diffusers beartype; then
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade \
    --target "$GPU_WORK/site" .gpu_wheels/*.whl
  export PYTHONPATH=$PYTHONPATH:$GPU_WORK/site
fi
exec python3 -m gpu.run --spent "$SECONDS" "$@"
