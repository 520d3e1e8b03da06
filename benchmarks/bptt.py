"""Backpropagation through time in two ways: the sweep that learners use, and a custom_vjp with a plain loss above it.

    python benchmarks/bptt.py [--turns 10]

Both give the gradient of the policy loss of `seca` on one batch of smac/2s3z. With `jax.custom_vjp` a learner writes a
scalar loss of the network's outputs and `jax.grad` does the rest; the price is a pass of its own for the outputs, and
the loss on padded rows. They are timed in turns; the ratio is what counts. docs/history.md has what came of it.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from seca.envs.registry import make
from seca.host import machine
from seca.learning.acting import Acting, last_actions
from seca.learning.policy_gradient import PolicyLoss, actor_gradient
from seca.learning.through_time import through_time
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.policies import masked_log_probs, of_taken
from seca.presets import PRESETS, build
from seca.sizes import CPU
from seca.train.rollout import collect
from seca.train.state import init_state
from seca.types import Episodes


@jax.custom_vjp
def outputs_of(agent: RecurrentAgent, episodes: Episodes, hidden: jax.Array) -> jax.Array:
    """The network's outputs in every row, from known states; zeros after the longest episode."""
    n_rows = episodes.actions.shape[1]
    previous = last_actions(episodes)
    outputs = jnp.zeros((*episodes.actions.shape, agent.head.bias.shape[0]), hidden.dtype)

    def block(number: jax.Array, sofar: jax.Array) -> jax.Array:
        start = jnp.minimum(number * CPU.time_block, n_rows - CPU.time_block)
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=CPU.time_block, axis=1)
        _, found = agent(agent_inputs(cut(episodes.obs), cut(previous)), cut(hidden))
        return jax.lax.dynamic_update_slice_in_dim(sofar, found, start, axis=1)

    return jax.lax.fori_loop(0, (episodes.length.max() + CPU.time_block - 1) // CPU.time_block, block, outputs)


def _forward(agent: RecurrentAgent, episodes: Episodes, hidden: jax.Array):
    return outputs_of(agent, episodes, hidden), (agent, episodes, hidden)


def _backward(kept, d_outputs: jax.Array):
    agent, episodes, hidden = kept

    def along(outputs: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = (outputs * slope).sum(axis=-1)  # Its gradient in the outputs is the slope: the vector-Jacobian product.
        return total, total

    swept = through_time(agent, episodes, hidden, d_outputs, along)
    return swept.gradient, jax.tree.map(_no_slope, episodes), jnp.zeros_like(hidden)


def _no_slope(array: jax.Array) -> jax.Array | np.ndarray:
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.zeros_like(array) if is_float else np.zeros(array.shape, jax.dtypes.float0)


outputs_of.defvjp(_forward, _backward)


def plain(agent: RecurrentAgent, episodes: Episodes, acting: Acting, advantage: jax.Array):
    """Gradient by `jax.grad` of a loss written as in the paper, entropy left out on both sides."""

    def loss(agent: RecurrentAgent) -> jax.Array:
        log_probs = masked_log_probs(outputs_of(agent, episodes, acting.hidden)[:, :-1], episodes.avail[:, :-1])
        each = jnp.where(episodes.valid[..., None], of_taken(log_probs, episodes.actions[:, :-1]) * advantage, 0)
        return -each.sum() / (episodes.valid.sum() * advantage.shape[-1])

    return jax.grad(loss)(agent)


def sweep(agent: RecurrentAgent, episodes: Episodes, acting: Acting, advantage: jax.Array):
    """The same as learners have it."""
    return actor_gradient(agent, PolicyLoss(), episodes, acting, advantage, None).gradient


def main() -> None:
    """Print the milliseconds of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    turns = parser.parse_args().turns
    machine.configure(1, 1)
    env = make("smac/2s3z", {})
    algorithm = build("seca", env.spec, PRESETS["seca"].config)
    state = init_state(algorithm, 0)
    params = algorithm.policy(state.learner)
    keys = jax.random.split(jax.random.key(0), 32)
    episodes, _ = jax.jit(functools.partial(collect, env, algorithm))(params, keys, jnp.uint32(0))
    advantage = jax.random.normal(jax.random.key(1), episodes.actions[:, :-1].shape)
    acting = episodes.record
    ways = {name: jax.jit(way) for name, way in (("sweep", sweep), ("custom_vjp", plain))}
    found = {name: way(params, episodes, acting, advantage) for name, way in ways.items()}
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max() / jnp.abs(a).max()), *found.values())
    print("largest difference, of the gradient's size:", max(jax.tree.leaves(apart)))
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            begun = time.perf_counter()
            for _ in range(5):
                jax.block_until_ready(way(params, episodes, acting, advantage))
            spent[name].append((time.perf_counter() - begun) / 5)
    for name, seconds in spent.items():
        print(f"{name:<12}{1000 * np.median(seconds):8.2f} ms (least {1000 * min(seconds):.2f})")
    ratios = np.divide(spent["custom_vjp"], spent["sweep"])
    print(f"custom_vjp takes {np.median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
