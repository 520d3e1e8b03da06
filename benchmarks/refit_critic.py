"""A better-told critic: is its credit nearer to the truth when its targets are less noisy? (docs/history.md)

    python benchmarks/refit_critic.py RUN [--batches 200] [--steps 128] [--truth 256]

RUN is a run of `seca`, whose policy stands still. Its critic goes on learning from fresh episodes of it, once as in
training and once for each change below, one at a time; then its credit is held against the same forks.

    as trained      the run's critic as it is
    more of it      two steps on each batch, as in training
    expected        targets at the policies, f(s', pi'), instead of the taken actions
    many batches    each step on the last eight batches, twice as many steps for each
    smaller steps   step size falls from 2e-3 to 0 along a cosine
    one-step        lambda 0: targets of the least variance
    observations    a new critic that reads the agents' observations beside the state
    hidden layer    a new critic with a hidden layer of 256 instead of 64
    wide            a new critic with the authors' wide hypernetwork
    new             a new critic, else as in training: what the three above are to be compared with
"""

import argparse
import dataclasses
import functools
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from fork_credit import held_against, standing

import seca
from seca.algos.base import Claim
from seca.algos.seca import SecaConfig
from seca.credit.sequential import swept_fast
from seca.learning.joint_critic import (
    critic_gradient,
    fresh_mixing_critic,
    is_wide,
    plain_taken_value,
    regression_targets,
)
from seca.learning.measures import count_steps
from seca.learning.rows import map_rows, pack, unpack
from seca.learning.trained import clipped_adam
from seca.nets.grouped import taken_value as grouped_taken_value
from seca.returns import lambda_returns
from seca.sizes import sizes
from seca.train.rollout import collect
from seca.truth.rounds import Plan
from seca.types import Episodes

RUNNERS = 32
KEPT = 8
"""Batches that `many batches` learns from at once."""


@dataclasses.dataclass(frozen=True)
class Change:
    """How a critic is told."""

    new: bool = False
    observations: bool = False
    expected: bool = False
    many: bool = False
    falling: bool = False
    options: tuple[tuple[str, Any], ...] = ()


CHANGES = {
    "more of it": Change(),
    "expected": Change(expected=True),
    "many batches": Change(many=True),
    "smaller steps": Change(falling=True),
    "one-step": Change(options=(("td_lambda", 0.0),)),
    "new": Change(new=True),
    "observations": Change(new=True, observations=True),
    "hidden layer": Change(new=True, options=(("critic_embed", 256),)),
    "wide": Change(new=True, options=(("critic_width", None), ("critic_lr", 5e-4))),
}


def told(episodes: Episodes, change: Change) -> Episodes:
    """What the critic reads of the episodes."""
    episodes = dataclasses.replace(episodes, record=None)
    if not change.observations:
        return episodes
    seen = episodes.obs.reshape(*episodes.state.shape[:2], -1)
    return dataclasses.replace(episodes, state=jnp.concatenate([episodes.state, seen], axis=-1))


def expected_targets(target: Any, episodes: Episodes, probs: jax.Array, packed: Any, config: SecaConfig) -> jax.Array:
    """TD(lambda) targets from f(s', pi')."""
    value = lambda state, rows: target.weights(state, rows.shape[1]).value(rows)  # noqa: E731
    values = unpack(map_rows(value, packed, episodes.state, probs), packed)
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.td_lambda)
    return jax.vmap(returns)(episodes.reward, episodes.ended(config.time_limit), episodes.valid, values)


def refit(run: Any, change: Change, batches: int) -> Any:
    """A critic's parameters after so many batches of the standing policy."""
    config = dataclasses.replace(run.config.algorithm, **dict(change.options))
    spec, learner = run.env.spec, run.state.learner
    if change.observations:
        spec = dataclasses.replace(spec, state_size=spec.state_size + spec.n_agents * spec.obs_size)
    critic = fresh_mixing_critic(jax.random.key(3), spec, config) if change.new else learner.critic
    each = config.critic_epochs * (2 if change.many else 1)
    rate = optax.cosine_decay_schedule(config.critic_lr, batches * each) if change.falling else config.critic_lr
    rule: Any = optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(rate))
    if not change.falling:
        rule = clipped_adam(config.critic_lr, config.clip_norm)
    opt = rule.init(eqx.filter(critic.params, eqx.is_array))
    values = plain_taken_value if is_wide(config) else grouped_taken_value
    play = jax.jit(
        lambda key: collect(
            run.env, run.algorithm, run.algorithm.policy(learner), jax.random.split(key, RUNNERS), run.state.env_steps
        )[0]
    )

    @jax.jit
    def step(params: Any, target: Any, opt: Any, episodes: Episodes) -> tuple[Any, Any]:
        probs, read = episodes.record.probs, told(episodes, change)
        packed = pack(read.valid, sizes().critic_rows)
        if change.expected:
            y = expected_targets(target, read, probs, packed, config)
        else:
            y = regression_targets(target, read, packed, config.gamma, config.td_lambda, config.time_limit, values)
        found = critic_gradient(params, y, read, packed, count_steps(read, None), None, values)
        moves, opt = rule.update(found.gradient, opt, params)
        return optax.apply_updates(params, moves), opt

    params, target, kept = critic.params, critic.target, []
    for number in range(batches):
        kept = [*kept, play(jax.random.fold_in(jax.random.key(7), number))][-(KEPT if change.many else 1) :]
        whole = jax.tree.map(lambda *x: jnp.concatenate(x), *kept) if change.many and len(kept) == KEPT else kept[-1]
        for _ in range(each):
            params, opt = step(params, target, opt, whole)
        if (number + 1) % max(1, config.target_interval // config.critic_epochs) == 0:
            target = params
    return params


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--truth", type=int, default=256)
    parser.add_argument("--changes", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    options = parser.parse_args()
    run = standing(options.run)
    own: Any = run.algorithm.claims
    plan = Plan(options.steps, options.truth)
    truth = seca.audit(run, plan)
    for name in ("as trained", *options.changes):
        change = CHANGES.get(name, Change())
        params = refit(run, change, options.batches) if name in CHANGES else run.state.learner.critic.params

        def fn(
            learner: Any, episodes: Any, env_steps: Any, key: Any, params: Any = params, change: Change = change
        ) -> Claim:
            order = own.fn(learner, episodes, env_steps, key).order
            weights = params.weights(told(episodes, change).state[:, :-1], run.env.spec.n_agents)
            mixed = weights.mix(episodes.record.probs[:, :-1], episodes.actions[:, :-1])
            return Claim(jnp.where(episodes.valid[..., None], swept_fast(mixed, order), 0), order)

        found = held_against(truth, run, plan, fn)
        print(
            f"| {name} | {found.explained:.2f} ({found.low:.2f} to {found.high:.2f}) | {found.correlation:.2f} | "
            f"{found.rms_credit:.3f}, {found.rms_truth:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
