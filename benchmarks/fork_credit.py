"""How right a credit by few and short forks is: the table behind docs/credit.md#a-credit-that-is-tried-out.

    python benchmarks/fork_credit.py RUN [--steps 192] [--truth 512] [--forks 1 4 16 32] [--lengths 4 8 12]
    python benchmarks/fork_credit.py show                                                what is there, as a table

RUN is a run of `seca`. The truth of its steps is found once, by many forks to the end; then the same steps are tried as
`seca-fork` does it, by fewer forks of fewer env steps closed by the run's own critic. One line for each in
docs/data/fork_credit.jsonl, in place of what was there of that policy.
"""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np

import seca
from seca.algos.base import Claims
from seca.algos.seca import SecaConfig
from seca.algos.seca_fork import SecaForkConfig, seca_fork
from seca.truth.audit import claims_of
from seca.truth.rounds import DRAWN, OWN, Plan, Rounds
from seca.truth.score import Score, score

DATA = pathlib.Path(__file__).parent.parent / "docs" / "data" / "fork_credit.jsonl"


@dataclasses.dataclass
class Tried:
    """A run as an audit asks for it, its actions tried out."""

    env: Any
    algorithm: Any
    state: Any
    config: Any


def standing(path: pathlib.Path) -> Any:
    """A run of `seca`, whose policy is to stand still. Raises SystemExit for any other."""
    run = seca.load(path)
    if type(run.config.algorithm) is not SecaConfig:
        raise SystemExit(f"{path} is a run of {run.config.preset}; give one of seca")
    return run


def held_against(truth: Any, run: Any, plan: Plan, fn: Any) -> Score:
    """How much of the truth's own credit a claim of one's own explains, on the steps of an audit made by this plan."""
    claims = Claims("sequential", fn)
    told = dataclasses.replace(run.algorithm, claims=claims)
    rounds = Rounds(Tried(run.env, told, run.state, run.config), plan, {OWN: claims}, tuple(jax.devices()[:1]))
    credit = np.concatenate([rounds.play(number).credits[OWN] for number in range(-(-plan.steps // DRAWN))])
    which = truth.choice
    battle = np.broadcast_to(truth.battle[:, None], which.shape)[which]
    return score(credit[which], truth.sums.mean()[:, 0][which], truth.sums.error()[:, 0][which], battle)


def measure(path: pathlib.Path, plan: Plan, forks: list[int], lengths: list[int]) -> list[dict[str, Any]]:
    """One line for each number of forks and length."""
    run = standing(path)
    truth = seca.audit(run, plan)
    mean, error = truth.sums.mean()[:, 0], truth.sums.error()[:, 0]
    which = truth.choice
    battle = np.broadcast_to(truth.battle[:, None], which.shape)[which]
    about = {"env": run.env.spec.id, "env_steps": int(run.state.env_steps), "seed": run.config.seed}
    options = {
        field.name: getattr(run.config.algorithm, field.name) for field in dataclasses.fields(run.config.algorithm)
    }

    def line(credit: np.ndarray, **how: Any) -> dict[str, Any]:
        found = score(credit[which], mean[which], error[which], battle)
        kept = {name: round(value, 4) for name, value in dataclasses.asdict(found).items()}
        print(
            how, f"explained {found.explained:.2f} ({found.low:.2f} to {found.high:.2f}), corr {found.correlation:.2f}"
        )
        return about | {"steps": plan.steps, "truth": plan.forks} | how | kept

    lines = [line(truth.credits[OWN], by="critic")]
    for length in lengths:
        for count in forks:
            config = SecaForkConfig(**options, forks=count, fork_steps=length)
            tried = Tried(run.env, seca_fork("tried", run.env.spec, config), run.state, run.config)
            rounds = Rounds(tried, plan, claims_of(tried), ())
            credit = [rounds.play(number).credits[OWN] for number in range(-(-plan.steps // DRAWN))]
            lines.append(line(np.concatenate(credit), by="forks", forks=count, length=length))
    return lines


def policy_of(line: dict[str, Any]) -> tuple[str, int, int]:
    """Which policy a line is about."""
    return line["env"], line["env_steps"], line["seed"]


def stored() -> list[dict[str, Any]]:
    """What has been measured."""
    return [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []


def table(lines: list[dict[str, Any]]) -> str:
    """Share explained: a row for each policy and length, a column for each number of forks."""
    counts = sorted({line["forks"] for line in lines if line["by"] == "forks"})
    rows = ["| policy | forks of | " + " | ".join(f"{count} each" for count in counts) + " | critic |"]
    rows.append("|---|---|" + "---:|" * (len(counts) + 1))
    for policy in sorted(set(map(policy_of, lines))):
        own = [line for line in lines if policy_of(line) == policy]
        critic = next(line for line in own if line["by"] == "critic")
        for length in sorted({line["length"] for line in own if line["by"] == "forks"}):
            found = {line["forks"]: line for line in own if line.get("length") == length}
            cells = [f"{found[count]['explained']:.2f}" if count in found else "" for count in counts]
            name = f"{policy[0]}, {policy[1]:,}, seed {policy[2]}"
            rows.append(f"| {name} | {length} env steps | {' | '.join(cells)} | {critic['explained']:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=192)
    parser.add_argument("--truth", type=int, default=512)
    parser.add_argument("--forks", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[4, 8, 12])
    options = parser.parse_args()
    if str(options.run) != "show":
        lines = measure(options.run, Plan(options.steps, options.truth), options.forks, options.lengths)
        kept = [line for line in stored() if policy_of(line) != policy_of(lines[0])]
        DATA.write_text("".join(json.dumps(line) + "\n" for line in kept + lines))
    print(table(stored()))


if __name__ == "__main__":
    main()
