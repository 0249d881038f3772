#!/usr/bin/env bash
# Fill .gpu_wheels/ with the packages that the machine with the GPU lacks; gpu.sh installs them there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
packages=(beartype diffusers)
limit=64 # MiB that may travel

rm -rf .gpu_wheels
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
  --constraint constraints.txt --dest .gpu_wheels "${packages[@]}"

size=$({ git ls-files -z; find .gpu_wheels -type f -print0; } | du -c --block-size=1M --apparent-size --files0-from=- | tail -1 | cut -f1)
ls .gpu_wheels
echo "$size of $limit MiB with all tracked files"
test "$size" -le "$limit"
