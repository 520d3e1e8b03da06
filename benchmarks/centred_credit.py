"""A centred advantage learned from returns alone: how much of the truth it explains (docs/history.md).

    python benchmarks/centred_credit.py RUN [--batches 120] [--steps 192] [--truth 512] [--epochs 6]

RUN is a run of `seca`, whose policy stands still. On fresh episodes of it a network is regressed to what came of each
step, y_t - f(s_t, pi), as a baseline b(s_t) and a sum over the order,

    b(s) + sum_i A_i(s, o_i, u of those before, u_i),    A_i = g_i(.., u_i) - sum_a pi_i(a) g_i(.., a),

each term of which is centred under pi_i, as the terms of a Doob decomposition are. Then it is held against the same
forks as any other credit. y are returns of n env steps, closed by the critic's f(s, pi), or of the whole episode.
"""

import argparse
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from fork_credit import held_against, standing

import seca
from seca.algos.base import Claim
from seca.returns import n_step
from seca.train.rollout import collect
from seca.truth.rounds import Plan

RUNNERS = 32
LENGTHS = (4, 8, 16, 1000)
"""Env steps after which the critic closes a return; the last is longer than any episode."""


class Centred(eqx.Module):
    """g of all actions of one agent, and the baseline."""

    actions: eqx.nn.MLP
    baseline: eqx.nn.MLP

    @staticmethod
    def init(key: jax.Array, state: int, inputs: int, n_actions: int, width: int) -> "Centred":
        keys = jax.random.split(key)
        actions = eqx.nn.MLP(inputs, n_actions, width, 2, key=keys[0])
        small = eqx.tree_at(lambda net: net.layers[-1].weight, actions, actions.layers[-1].weight * 0.1)
        return Centred(small, eqx.nn.MLP(state, "scalar", width, 2, key=keys[1]))

    def advantages(self, rows: dict[str, Any]) -> jax.Array:
        """A_i `[rows, agents]`."""
        values = jax.vmap(jax.vmap(self.actions))(inputs(rows))
        return ((jax.nn.one_hot(rows["actions"], values.shape[-1]) - rows["probs"]) * values).sum(-1)

    def loss(self, rows: dict[str, Any]) -> jax.Array:
        error = rows["y"] - jax.vmap(self.baseline)(rows["state"]) - self.advantages(rows).sum(-1)
        return (rows["weight"] * error**2).sum() / rows["weight"].sum()


def inputs(rows: dict[str, Any]) -> jax.Array:
    """State, own observation, who one is, own policy, and the actions of those before: `[rows, agents, inputs]`."""
    n_rows, n_agents, n_actions = rows["probs"].shape
    rank = jnp.argsort(rows["order"], axis=-1)
    before = rank[:, None, :] < rank[:, :, None]
    taken = jnp.where(before[..., None], jax.nn.one_hot(rows["actions"], n_actions)[:, None], 0)
    own = jnp.broadcast_to(jnp.eye(n_agents), (n_rows, n_agents, n_agents))
    state = jnp.broadcast_to(rows["state"][:, None], (n_rows, n_agents, rows["state"].shape[-1]))
    return jnp.concatenate([state, rows["obs"], own, rows["probs"], before, taken.reshape(n_rows, n_agents, -1)], -1)


def rows_of(episodes: Any, probs: jax.Array, order: jax.Array) -> dict[str, Any]:
    """The steps of whole episodes, padding among them."""
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    cut = lambda x: flat(x[:, :-1])  # noqa: E731
    return {
        "state": cut(episodes.state),
        "obs": cut(episodes.obs),
        "probs": cut(probs),
        "actions": cut(episodes.actions),
        "order": flat(order),
        "weight": flat(episodes.valid).astype(jnp.float32),
    }


def gathered(run: Any, batches: int) -> list[dict[str, np.ndarray]]:
    """Episodes of the run's policy, and y - f(s, pi) for every length."""
    config, learner, n_agents = run.config.algorithm, run.state.learner, run.env.spec.n_agents
    params, critic = run.algorithm.policy(learner), learner.critic.params

    @jax.jit
    def one(key: jax.Array) -> dict[str, Any]:
        keys = jax.random.split(key, RUNNERS + 1)
        episodes, _ = collect(run.env, run.algorithm, params, keys[1:], run.state.env_steps)
        claim = run.algorithm.claims.fn(learner, episodes, run.state.env_steps, keys[0])
        probs = episodes.record.probs
        value = jax.vmap(jax.vmap(lambda state, p: critic.weights(state, n_agents).value(p)))(episodes.state, probs)
        of_length = lambda n: jax.vmap(lambda *x: n_step(*x, gamma=config.gamma, n=n))(  # noqa: E731
            episodes.reward, episodes.terminated, episodes.valid, value
        )
        y = jnp.stack([of_length(n) - value[:, :-1] for n in LENGTHS], -1)
        return rows_of(episodes, probs, claim.order) | {"y": y.reshape(-1, len(LENGTHS))}

    kept = []
    for number in range(batches):
        rows = jax.device_get(one(jax.random.fold_in(jax.random.key(7), number)))
        valid = rows["weight"] > 0
        kept.append({name: array[valid] for name, array in rows.items()})
    return kept


def fitted(batches: list[dict[str, np.ndarray]], length: int, epochs: int, width: int, lr: float) -> tuple[Any, float]:
    """The network, and the share of the variance of y that it explains of the last tenth, which it has not seen."""
    data = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    data["y"] = data["y"][:, length]
    size = 512
    last = len(data["y"]) * 9 // 10
    example = {name: jnp.asarray(array[:2]) for name, array in data.items()}
    spec = example["state"].shape[-1], inputs(example).shape[-1], data["probs"].shape[-1]
    net = Centred.init(jax.random.key(0), *spec, width)
    steps = epochs * (last // size)
    optimiser = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adamw(optax.cosine_decay_schedule(lr, steps), weight_decay=1e-2)
    )
    opt = optimiser.init(eqx.filter(net, eqx.is_array))

    @eqx.filter_jit
    def step(net: Centred, opt: Any, rows: dict[str, Any]) -> tuple[Centred, Any]:
        moves, opt = optimiser.update(eqx.filter_grad(Centred.loss)(net, rows), opt, eqx.filter(net, eqx.is_array))
        return eqx.apply_updates(net, moves), opt

    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(last)[: last // size * size], last // size):
            net, opt = step(net, opt, {name: array[rows] for name, array in data.items()})
    held = {name: array[last:] for name, array in data.items()}
    parts = [{name: array[at : at + 4096] for name, array in held.items()} for at in range(0, len(held["y"]), 4096)]
    lost = sum(float(eqx.filter_jit(Centred.loss)(net, part)) * len(part["y"]) for part in parts)
    return net, 1 - lost / len(held["y"]) / float(held["y"].var())


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--batches", type=int, default=120)
    parser.add_argument("--steps", type=int, default=192)
    parser.add_argument("--truth", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    options = parser.parse_args()
    run = standing(options.run)
    own: Any = run.algorithm.claims
    plan = Plan(options.steps, options.truth)
    truth = seca.audit(run, plan)
    batches = gathered(run, options.batches)
    print(f"{sum(len(batch['y']) for batch in batches):,} env steps of {run.env.spec.id}")
    for length, n in enumerate(LENGTHS):
        net, held = fitted(batches, length, options.epochs, options.width, options.lr)

        def fn(learner: Any, episodes: Any, env_steps: Any, key: Any, net: Centred = net) -> Claim:
            claim = own.fn(learner, episodes, env_steps, key)
            rows = rows_of(episodes, episodes.record.probs, claim.order)
            credit = net.advantages(rows).reshape(claim.credit.shape)
            return Claim(jnp.where(episodes.valid[..., None], credit, 0), claim.order)

        found = held_against(truth, run, plan, fn)
        print(
            f"returns of {n:>4} env steps: of y itself {held:5.2f}; of the truth "
            f"{found.explained:5.2f} ({found.low:.2f} to {found.high:.2f}), correlation {found.correlation:.2f}, "
            f"rms {found.rms_credit:.3f} of {found.rms_truth:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
