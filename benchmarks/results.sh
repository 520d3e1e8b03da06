#!/usr/bin/env bash
# The runs behind docs/results.md. Each takes minutes to an hour; run folders are never overwritten.
#   benchmarks/results.sh seca|paper-compact|paper-wide|figures [SEED ...]
set -euo pipefail
cd "$(dirname "$0")/.."
SECA=.venv/bin/seca
what=${1:?seca, paper-compact, paper-wide or figures}
shift
case "$what" in
  seca)
    for seed in ${@:-0 1 2}; do
      $SECA train seca --env smac/2s3z --seed "$seed" --steps 4e6 --devices 1 --out "runs/seca-2s3z-s$seed"
    done ;;
  paper-compact)
    for seed in ${@:-0 1 2}; do
      $SECA train seca-paper --critic-width 64 --env smac/2s3z --seed "$seed" --steps 2e6 --devices 1 \
        --out "runs/paper-compact-s$seed"
    done ;;
  paper-wide)
    $SECA train seca-paper --env smac/2s3z --seed 0 --steps 1e6 --eval-interval 100000 --devices 1 --out runs/paper-wide-s0 ;;
  figures)
    $SECA plot runs/seca-2s3z-s? --out docs/figures/seca_2s3z
    $SECA plot runs/seca-2s3z-s? runs/paper-compact-s? runs/paper-wide-s? --out docs/figures/paper_2s3z ;;
esac
