"""Order and advantages of a whole batch from one packed pass over its steps.

The plain forms are `order.gradients.by_contribution` and the functions of `credit`, one step at a time; this computes
the same. Where the credit needs no more than the hidden layer (`nets.critics.Mixed`), the pass that integrates the
gradients also leaves what the advantages need: the path's first point of each transition is the step itself.
"""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seca.algos.config import ActorCriticConfig
from seca.algos.optim import global_sum
from seca.algos.packing import Chunk, Packed, flat, over_chunks, room_for, unpack, write
from seca.credit.base import CreditFn
from seca.credit.sequential import exact, monte_carlo
from seca.credit.shapley import drawn_orders
from seca.nets.critics import Mixed, MixingCritic, MixingWeights
from seca.order.base import OrderFn
from seca.order.gradients import GradientOrder, by_stage, on_path, sample_points
from seca.order.simple import by_entropy, by_probability, descending, shuffled
from seca.types import EnvSpec, Episodes, PyTree


class Judged(eqx.Module):
    """Who is judged when, and each agent's advantage, for every step of a batch."""

    advantage: Float[Array, "batch time agents"]
    """Stop-gradient advantages in agent slots; 0 on padding."""
    order: Int[Array, "batch time agents"]
    """Agent at each position."""
    contribution: Float[Array, "batch time agents"]
    """What the order follows from, with order `gradients`; zeros otherwise."""
    team_mean: Float[Array, " agents"]
    """Mean contribution per agent over all episodes."""
    taken: Float[Array, "batch time"]
    """f(s, u) of the critic that judged; meaningless on padding."""


def judge(
    critic: MixingCritic,
    episodes: Episodes,
    probs: Float[Array, "batch time1 agents actions"],
    packed: Packed,
    chunk: int,
    config: ActorCriticConfig,
    fixed_order: Int[Array, " agents"],
    previous: Float[Array, " agents"],
    keys: Key[Array, " batch"],
    axis: str | None,
    credit_fn: CreditFn | None = None,
    order_fn: OrderFn | None = None,
) -> Judged:
    """Order of every step and the advantages it leads to, by the critic as it is now.

    Args:
        critic: online critic, already stepped on this batch.
        episodes: whole episodes.
        probs: masked policies of the actor, not yet stepped.
        packed: the real rows.
        chunk: rows visited at once.
        config: credit, order and path options.
        fixed_order: the run's random order, for order `fixed`.
        previous: mean contributions of the batch before, for path source `previous`.
        keys: one key per episode.
        axis: mapped axis of devices, or None.
        credit_fn: takes the place of `config.credit`.
        order_fn: takes the place of `config.order`.
    """
    options = config.path if follows_path(config, credit_fn, order_fn) else None
    per_step, mixed = _first_pass(critic, episodes, probs, packed, chunk, options)
    order_keys, credit_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    if options is not None:
        contribution, team_mean = _stages(unpack(per_step, packed)[:, :-1], episodes, options, axis)
        order = _descending_orders(contribution, team_mean, previous, options)
    else:
        contribution = jnp.zeros(episodes.valid.shape + previous.shape, probs.dtype)
        team_mean = jnp.zeros_like(previous)
        if order_fn is None:
            order = _simple_orders(episodes, probs, config, fixed_order, order_keys)
        else:
            order = _given_orders(critic, episodes, probs, order_fn, order_keys)
    if credit_fn is None and config.credit not in FROM_HIDDEN:
        credit_fn = _credit_fn(config)
    advantage = _second_pass(critic, episodes, probs, packed, chunk, config, mixed, order, credit_keys, credit_fn)
    taken = unpack(mixed.value(mixed.policy + mixed.delta.sum(axis=-2)), packed)[:, :-1]
    return Judged(jax.lax.stop_gradient(advantage), order, contribution, team_mean, jax.lax.stop_gradient(taken))


def credit_floats(spec: EnvSpec, config: ActorCriticConfig) -> int:
    """Numbers held at once for the credit of one step, beside what every credit takes; an estimate.

    Sampled and enumerated joint actions are evaluated side by side, and so are orders.
    """
    n, joint = spec.n_agents, spec.n_agents * spec.n_actions + 2 * config.critic_embed
    match config.credit:
        case "shapley":
            return 3 * min(config.credit_orders, math.factorial(n)) * config.critic_embed
        case "monte_carlo":
            return config.credit_samples * (n + 1) * joint
        case "exact":
            return spec.n_actions**n * joint
        case _:
            return 0


ORDERED = ("swept", "exact", "monte_carlo")
"""Credits that depend on an order."""
FROM_HIDDEN = ("swept", "counterfactual", "independent", "shapley")
"""Credits that need no more of a step than `Mixed`."""


def reads_order(config: ActorCriticConfig, credit_fn: CreditFn | None) -> bool:
    """Whether the credit depends on an order; one that is given as a function may."""
    return credit_fn is not None or config.credit in ORDERED


def follows_path(config: ActorCriticConfig, credit_fn: CreditFn | None, order_fn: OrderFn | None) -> bool:
    """Whether the order comes from integrated gradients."""
    return order_fn is None and config.order == "gradients" and reads_order(config, credit_fn)


def _first_pass(
    critic: MixingCritic,
    episodes: Episodes,
    probs: Array,
    packed: Packed,
    chunk: int,
    options: GradientOrder | None,
) -> tuple[Array, Mixed]:
    """Contribution of each transition (zeros without `options`) and the hidden layer of each step."""
    state, pi, actions = flat(episodes.state), flat(probs), flat(episodes.actions)
    n_agents, embed = pi.shape[1], critic.b1.bias.shape[0]

    def body(carry: PyTree, rows: Chunk) -> PyTree:
        contribution, mixed = carry
        s_t, pi_t = state[rows.index], pi[rows.index]
        at_step = critic.weights(s_t, n_agents)
        now = at_step.mix(pi_t, actions[rows.index])
        mixed = jax.tree.map(lambda buffer, new: write(buffer, new, rows), mixed, now)
        if options is not None:
            s_tp1, pi_tp1 = state[rows.next_index], pi[rows.next_index]
            earned = _integrate(critic, at_step, s_t, s_tp1, pi_t, pi_tp1, options)
            contribution = write(contribution, earned, rows)
        return contribution, mixed

    room = functools.partial(room_for, packed, dtype=state.dtype)
    mixed = Mixed(room((embed,)), room((n_agents, embed)), room((embed,)), room(()))
    return over_chunks(packed, chunk, body, (room((n_agents,)), mixed))


def _integrate(
    critic: MixingCritic,
    at_step: MixingWeights,
    s_t: Array,
    s_tp1: Array,
    pi_t: Array,
    pi_tp1: Array,
    options: GradientOrder,
) -> Float[Array, "chunk agents"]:
    """`order.gradients.transition_contribution` of a chunk with the critic's gradient in closed form."""
    step = (pi_t - pi_tp1) if options.sign == "earned" else (pi_tp1 - pi_t)
    points = jnp.asarray(sample_points(options), step.dtype)

    def earned(weights: MixingWeights, probs: Array) -> Array:
        # Two contractions of W1, the largest array here, each a batched product (one stacked product is 2x slower).
        hidden = weights.project(probs).sum(axis=-2) + weights.b1
        return (weights.project(step) * weights.slope(hidden)[:, None, :]).sum(axis=-1)

    def at_point(number: Int[Array, ""], total: Array) -> Array:
        alpha = points[number]
        weights = critic.weights(s_t + alpha * (s_tp1 - s_t), step.shape[-2])
        return total + earned(weights, pi_t + alpha * (pi_tp1 - pi_t))

    # The left rule's first point is the step itself, whose weights are at hand.
    shared = options.rule == "left"
    first = earned(at_step, pi_t) if shared else jnp.zeros(step.shape[:-1], step.dtype)
    # A loop, not an unrolled sum: the points then share one buffer for W1, which stays in cache.
    return jax.lax.fori_loop(int(shared), options.points, at_point, first) / options.points


def _stages(per_step: Array, episodes: Episodes, options: GradientOrder, axis: str | None) -> tuple[Array, Array]:
    """Contribution of each step's stage, and the mean over episodes of whole-episode contributions."""
    contribution = jax.vmap(functools.partial(by_stage, options=options))(per_step, episodes.valid)
    path = jax.vmap(functools.partial(on_path, options=options))(episodes.valid)
    whole = jnp.where(path[..., None], per_step, 0).sum(axis=(0, 1))
    whole, count = global_sum((whole, jnp.asarray(per_step.shape[0], per_step.dtype)), axis)
    return contribution, whole / count


def _descending_orders(contribution: Array, team_mean: Array, previous: Array, options: GradientOrder) -> Array:
    if options.reduce == "batch_mean":
        mean = team_mean if options.source == "same" else previous
        return jnp.broadcast_to(descending(mean), contribution.shape)
    return jnp.argsort(-contribution, axis=-1, stable=True)


def _simple_orders(
    episodes: Episodes, probs: Array, config: ActorCriticConfig, fixed_order: Array, keys: Key[Array, " batch"]
) -> Int[Array, "batch time agents"]:
    n_agents = probs.shape[2]
    shape = (*episodes.valid.shape, n_agents)
    match config.order:
        case "probability":
            return jax.vmap(jax.vmap(by_probability))(probs[:, :-1], episodes.actions[:, :-1])
        case "entropy":
            return jax.vmap(jax.vmap(by_entropy))(probs[:, :-1])
        case "random":
            drawn = jax.vmap(functools.partial(shuffled, n_agents=n_agents))(keys)
            return jnp.broadcast_to(drawn[:, None], shape)
        case "fixed":
            return jnp.broadcast_to(fixed_order, shape)
        case _:
            return jnp.broadcast_to(jnp.arange(n_agents), shape)


def _given_orders(
    critic: MixingCritic, episodes: Episodes, probs: Array, order_fn: OrderFn, keys: Key[Array, " batch"]
) -> Int[Array, "batch time agents"]:
    """Orders of a function of one episode; episode by episode, for what it may do with the critic takes memory."""
    n_agents = probs.shape[2]

    def critic_at(state: Array, inputs: Array) -> Array:
        return critic.weights(state, n_agents).value(inputs)

    everything = (dataclasses.replace(episodes, record=None), probs, keys)
    order = jax.lax.map(lambda one: order_fn(critic_at, *one), everything)
    expected = (*episodes.valid.shape[1:], n_agents)
    if order.shape[1:] != expected or not jnp.issubdtype(order.dtype, jnp.integer):
        raise ValueError(f"`order_fn` returns {order.dtype}{list(order.shape[1:])}; expected int{list(expected)}")
    return order


def _second_pass(
    critic: MixingCritic,
    episodes: Episodes,
    probs: Array,
    packed: Packed,
    chunk: int,
    config: ActorCriticConfig,
    mixed: Mixed,
    order: Array,
    keys: Key[Array, " batch"],
    credit_fn: CreditFn | None,
) -> Float[Array, "batch time agents"]:
    """Advantages of all steps under the given orders; without `credit_fn` from the hidden layer."""
    batch, time, n_agents = order.shape
    last = jnp.zeros((batch, 1, n_agents), order.dtype)
    orders = flat(jnp.concatenate([order, last], axis=1))
    state, pi, actions = flat(episodes.state), flat(probs), flat(episodes.actions)

    def body(buffer: Array, rows: Chunk) -> Array:
        step_keys = jax.vmap(jax.random.fold_in)(keys[rows.index // (time + 1)], rows.index % (time + 1))
        if credit_fn is None:
            step = jax.tree.map(lambda array: jax.lax.dynamic_slice_in_dim(array, rows.start, chunk), mixed)
            return write(buffer, _from_hidden(step, orders[rows.index], step_keys, config), rows)
        weights = critic.weights(state[rows.index], n_agents)
        credit = jax.vmap(lambda w, p, u, o, k: credit_fn(w.value, p, u, o, k))(
            weights, pi[rows.index], actions[rows.index], orders[rows.index], step_keys
        )
        if credit.shape[1:] != (n_agents,):
            raise ValueError(f"`credit_fn` returns shape {list(credit.shape[1:])}; expected {[n_agents]}")
        return write(buffer, credit, rows)

    advantage = over_chunks(packed, chunk, body, room_for(packed, (n_agents,), pi.dtype))
    return jnp.where(episodes.valid[..., None], unpack(advantage, packed)[:, :-1], 0)


def _from_hidden(
    step: Mixed, order: Array, keys: Key[Array, " chunk"], config: ActorCriticConfig
) -> Float[Array, "chunk agents"]:
    match config.credit:
        case "swept":
            return step.sequential(order)
        case "shapley":
            draw = functools.partial(drawn_orders, n_agents=order.shape[-1], orders=config.credit_orders)
            return jax.vmap(step.sequential, in_axes=1)(jax.vmap(draw)(keys)).mean(axis=0)
        case "counterfactual":
            return step.counterfactual()
        case _:
            return step.independent()


def _credit_fn(config: ActorCriticConfig) -> CreditFn:
    return functools.partial(monte_carlo, samples=config.credit_samples) if config.credit == "monte_carlo" else exact
