#!/usr/bin/env bash
# All that is to be measured on an accelerator, in one call of eight minutes at most.
#
#     OUT=results benchmarks/accelerator.sh [--minutes 8] [--quick] [--parts simulator train-seca ...]
#
# Runs from the source tree by $PYTHON (python3), which has to bring JAX for its accelerator; of what else seca needs it
# takes what is there, and wheels from the folder $WHEELS (.wheels), without a package index. Everything is written under
# $OUT (accelerator, an empty folder): results.jsonl line by line as it is measured, summary.md, log.txt, tests.txt. A part that fails, or
# for which a package is missing, is said, and the next one runs. On a machine with CPUs alone it takes smaller sizes.
#
# The folder of wheels, made where there is an index, for that machine's Python:
#     python -m pip download --no-deps --only-binary=:all: --python-version 3.12 -d .wheels \
#       flashbax msgspec tyro rich orbax-checkpoint beartype ...
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHON="${PYTHON:-python3}" OUT="${OUT:-accelerator}"
mkdir -p "$OUT" || exit 2
WHEELS="${WHEELS:-.wheels}"
if compgen -G "$WHEELS/*.whl" > /dev/null; then
  SITE="$(mktemp -d)"
  trap 'rm -rf "$SITE"' EXIT
  # One by one: a wheel that does not suit this Python must not keep the others out. What the machine has stays: its
  # JAX is the one that knows the accelerator.
  for wheel in "$WHEELS"/*.whl; do
    name="$(basename "$wheel")"
    "$PYTHON" -c 'import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])' "${name%%-*}" \
      2> /dev/null && continue
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
      --upgrade --target "$SITE" "$wheel" 2>> "$OUT/log.txt" || echo "not installed: $wheel" | tee -a "$OUT/log.txt"
  done
  export SECA_WHEELS="$SITE"
fi
"$PYTHON" benchmarks/accelerator.py --out "$OUT" "$@"
