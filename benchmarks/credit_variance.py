"""Proposition 1 of Zang et al. 2023 in the wild: how much credits vary over joint actions (docs/credit.md).

    python benchmarks/credit_variance.py RUN [--steps 24] [--actions 24] [--forks 192]

RUN is a run of `seca`. At each of some steps of its episodes joint actions are drawn from its policy, and of each the
advantages of all agents are measured by forks to the end, Eq. 3, 4 and 5, and asked of the run's critic. Printed is
the variance over the joint actions of a step, its mean over steps and agents; of the forks the variance of the means
less their squared standard errors, with a standard error over steps. A policy's line in
docs/data/credit_variance.jsonl takes the place of the one before.
"""

import argparse
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seca
from seca.algos.seca import SecaConfig
from seca.credit.counterfactual import COUNTERFACTUAL, INDEPENDENT
from seca.credit.sequential import SWEPT
from seca.truth.asked import Sums, ask
from seca.truth.audit import claims_of
from seca.truth.forks import Forks
from seca.truth.rounds import Plan, Rounds

KINDS = ("independent", "sequential", "counterfactual")
CREDITS = {"independent": INDEPENDENT, "sequential": SWEPT, "counterfactual": COUNTERFACTUAL}
PART = 16
"""Forks of each joint action played before the next of them."""
DATA = pathlib.Path(__file__).parent.parent / "docs" / "data" / "credit_variance.jsonl"


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=24, help="of the team; at most 64")
    parser.add_argument("--actions", type=int, default=24, help="joint actions of each step")
    parser.add_argument("--forks", type=int, default=192, help="of each joint action")
    options = parser.parse_args()
    run: Any = seca.load(options.run)
    if type(run.config.algorithm) is not SecaConfig:
        raise SystemExit(f"{options.run} is a run of {run.config.preset}; give one of seca")
    places = tuple(jax.devices())
    drawn = Rounds(run, Plan(steps=options.steps), claims_of(run), places).play(0)
    params, now = run.algorithm.policy(run.state.learner), run.state.env_steps
    forks = Forks(run.env, run.algorithm, run.config.algorithm.gamma, devices=places)
    told, n_agents = (params, now, drawn.standing), run.env.spec.n_agents

    step = np.repeat(np.arange(options.steps), options.actions)
    taken, _ = forks.draw(*told, step, jax.random.split(jax.random.key(1), len(step)))
    sums = Sums.nothing(len(step), len(KINDS), n_agents, run.env.spec.n_actions)
    for begin in range(0, options.forks, PART):
        count = min(PART, options.forks - begin)
        # Each joint action has luck of its own: common luck would hide errors from the variance between them.
        which = np.repeat(np.arange(len(step)), count)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), begin), len(which))
        again, numbers = forks.draw(*told, step[which], keys)
        asked = ask(KINDS, taken[which], again, drawn.order[step[which]], numbers)
        returns = np.empty(len(asked.fork), np.float32)
        for part, values, _ in forks.returns(*told, step[which[asked.fork]], asked.first, keys[asked.fork]):
            returns[part] = values
        sums.add(which, asked.differences(returns), again)
        print(f"{begin + count} of {options.forks} forks", flush=True)

    shape = (options.steps, options.actions, len(KINDS), n_agents)
    mean, error = sums.mean().reshape(shape), sums.error().reshape(shape)
    true = mean.var(axis=1, ddof=1) - (error**2).mean(axis=1)

    shown, critic = drawn.standing, run.state.learner.critic.params
    acted = run.algorithm.act(
        params, shown.carry, shown.time_step, jax.random.split(jax.random.key(3), len(shown.time)), now, False
    )
    probs, state = acted.record.probs, shown.time_step.state

    def of_critic(kind: str) -> np.ndarray:
        def one(at: jax.Array, action: jax.Array) -> jax.Array:
            value = critic.weights(state[at], n_agents).value
            order = jnp.asarray(drawn.order)[at]
            return CREDITS[kind].fn(value, probs[at], action, order, jax.random.key(0))

        found = np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(step), jnp.asarray(taken)))
        return found.reshape(options.steps, options.actions, n_agents).var(axis=1, ddof=1)

    line: dict[str, Any] = {"env": run.env.spec.id, "env_steps": int(now), "seed": run.config.seed}
    line |= {"steps": options.steps, "actions": options.actions, "forks": options.forks}
    for number, kind in enumerate(KINDS):
        of_step, claimed = true[:, number].mean(axis=-1), of_critic(kind)
        spread = of_step.std(ddof=1) / options.steps**0.5
        line[kind] = {"truth": float(of_step.mean()), "error": float(spread), "critic": float(claimed.mean())}
        print(f"{kind:<16} truth {of_step.mean():.5f} ({spread:.5f})   critic {claimed.mean():.6f}")
    pairs = zip(KINDS, KINDS[1:], strict=False)
    for low, high in pairs:
        gap = (true[:, KINDS.index(high)] - true[:, KINDS.index(low)]).mean(axis=-1)
        line[f"{high} - {low}"] = {"truth": float(gap.mean()), "error": float(gap.std(ddof=1) / options.steps**0.5)}
    stored = [json.loads(text) for text in DATA.read_text().splitlines()] if DATA.exists() else []
    same = ("env", "env_steps", "seed")
    kept = [other for other in stored if any(other[name] != line[name] for name in same)]
    lines = [*kept, {name: rounded(value) for name, value in line.items()}]
    DATA.write_text("".join(json.dumps(one) + "\n" for one in lines))


def rounded(value: Any) -> Any:
    """Numbers of a line to five significant digits."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
