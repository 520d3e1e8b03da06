#!/usr/bin/env bash
# The runs behind docs/results.md. Each takes minutes to an hour; run folders are never overwritten.
#   benchmarks/results.sh seca|uncorrected|entropy005|one-step|paper-compact|paper-wide|figures [SEED ...]
# What is kept of them: python benchmarks/results.py keep runs/NAME ...
set -euo pipefail
cd "$(dirname "$0")/.."
SECA=.venv/bin/seca
what=${1:?seca, uncorrected, entropy005, one-step, paper-compact, paper-wide or figures}
shift
case "$what" in
  seca)  # As `make train` does it, on all cores.
    for seed in ${@:-0 1 2}; do
      $SECA train seca --env smac/2s3z --seed "$seed" --steps 2e6 --out "runs/seca-2s3z-s$seed"
    done ;;
  uncorrected)
    for seed in ${@:-0 1 2}; do
      $SECA train seca-uncorrected --env smac/2s3z --seed "$seed" --steps 2e6 --devices 1 --out "runs/uncorrected-s$seed"
    done ;;
  entropy005)  # `seca` as it was with the published entropy coefficient; seeds 0 to 2 were `make train` then.
    for seed in ${@:-0}; do
      $SECA train seca-uncorrected --entropy-coef 0.005 --env smac/2s3z --seed "$seed" --steps 2e6 --devices 1 \
        --out "runs/entropy005-s$seed"
    done ;;
  one-step)  # `seca` as it was before actor epochs.
    for seed in ${@:-0}; do
      $SECA train seca-uncorrected --actor-epochs 1 --actor-lr 1e-3 --critic-epochs 4 --target-interval 200 --env smac/2s3z \
        --entropy-coef 0.005 \
        --seed "$seed" --steps 2e6 --devices 1 --out "runs/one-step-s$seed"
    done ;;
  paper-compact)
    for seed in ${@:-0 1 2}; do
      $SECA train seca-paper --critic-width 64 --env smac/2s3z --seed "$seed" --steps 2e6 --devices 1 \
        --out "runs/paper-compact-s$seed"
    done ;;
  paper-wide)
    $SECA train seca-paper --env smac/2s3z --seed 0 --steps 1e6 --eval-interval 100000 --devices 1 --out runs/paper-wide-s0 ;;
  figures)
    $SECA plot docs/data/seca-2s3z-s? --out docs/figures/seca_2s3z
    $SECA plot docs/data/{seca-2s3z,uncorrected,entropy005,one-step,paper-compact}-s? --out docs/figures/paper_2s3z ;;
esac
