"""Order and advantages of a whole batch: who is judged when, and what each agent's action is worth.

The plain forms are the functions of `credit` and `order`, one step and one episode at a time; this computes the same
from two visits of all rows. (Orders that follow from several episodes, `path.reduce`, are made here alone.) Where the
credit has a fast form, the visit that integrates the gradients also leaves all that the advantages need
(`credit.base.Mixed`): the path's first point of each transition is the step itself.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seca.credit.base import Credit, Mixed
from seca.learning.devices import global_sum, step_keys
from seca.learning.rows import InRows, Packed, map_rows, next_row, to_rows, unpack
from seca.nets.critics import MixingCritic
from seca.order.base import GradientOrder, Order
from seca.order.gradients import by_stage, on_path, transition_contribution_fast
from seca.order.simple import descending
from seca.types import Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class Judging:
    """How agents are judged: what an action is worth, and who comes first."""

    credit: Credit
    order: Order

    @property
    def follows_path(self) -> bool:
        """Whether contributions are needed: nobody asks who is first where the credit does not."""
        return self.credit.reads_order and self.order.path is not None

    @property
    def asks_of_policies(self) -> bool:
        """Whether the critic is asked of policies, by the credit or by the order, and not of actions alone."""
        return self.credit.reads_policies or self.follows_path or (self.credit.reads_order and self.order.reads_critic)


class Batch(eqx.Module):
    """Whole episodes, as they are judged."""

    episodes: Episodes
    probs: Float[Array, "batch time1 agents actions"]
    """Masked policies of the actor, not yet stepped."""
    packed: Packed
    """The real rows."""
    keys: Key[Array, " batch"]
    """One key per episode."""
    axis: str | None = eqx.field(static=True)
    """Mapped axis of devices, or None."""


class Judged(eqx.Module):
    """Who is judged when, and each agent's advantage, for every step of a batch."""

    advantage: Float[Array, "batch time agents"]
    """Stop-gradient advantages in agent slots; 0 on padding."""
    order: Int[Array, "batch time agents"]
    """Agent at each position."""
    contribution: Float[Array, "batch time agents"] | None
    """What the order follows from, where it follows the critic's gradients."""
    per_step: Float[Array, "batch time agents"] | None
    """The contribution of each step alone, likewise; 0 on padding."""
    team_mean: Float[Array, " agents"] | None
    """Mean contribution per agent over all episodes, likewise."""
    state: PyTree
    """What the order remembers for the next batch."""
    taken: Float[Array, "batch time"]
    """f(s, u) of the critic that judged; meaningless on padding."""
    expected: Float[Array, "batch time"]
    """f(s, pi), likewise."""


def judge(critic: MixingCritic, batch: Batch, judging: Judging, state: PyTree) -> Judged:
    """Order of every step and the advantages it leads to, by the critic as it is now.

    Args:
        critic: online critic, already stepped on this batch.
        batch: whole episodes, with the policies that are judged.
        judging: how an action is valued, and who is judged first.
        state: what the order remembers.
    """
    episodes, probs, packed = batch.episodes, batch.probs, batch.packed
    path = judging.order.path if judging.follows_path else None
    rows = episodes.state, next_row(episodes.state), probs, next_row(probs), episodes.actions
    seen = map_rows(functools.partial(_first_visit, critic, path), packed, *rows)
    mixed, earned = InRows(seen.arrays[0]), InRows(seen.arrays[1])
    order_keys, credit_keys = jax.vmap(jax.random.split, out_axes=1)(batch.keys)
    contribution = per_step = team_mean = None
    if path is not None:
        per_step = jnp.where(episodes.valid[..., None], unpack(earned, packed)[:, :-1], 0)
        contribution, team_mean = _stages(per_step, episodes, path, batch.axis)
        ranks, state = _descending(contribution, team_mean, state, path), team_mean
    else:
        ranks = _orders(critic, episodes, probs, judging.order, order_keys, state)
    told = to_rows(ranks), step_keys(credit_keys, probs.shape[1])
    value = functools.partial(_second_visit, critic, judging.credit)
    found = map_rows(value, packed, mixed, episodes.state, probs, episodes.actions, *told)
    advantage = jnp.where(episodes.valid[..., None], unpack(found, packed)[:, :-1], 0)
    values = InRows((mixed.arrays.taken(), mixed.arrays.value(mixed.arrays.policy)))
    taken, expected = (x[:, :-1] for x in unpack(values, packed))
    stop = jax.lax.stop_gradient
    return Judged(stop(advantage), ranks, contribution, per_step, team_mean, state, stop(taken), stop(expected))


def _first_visit(
    critic: MixingCritic,
    path: GradientOrder | None,
    s_t: Array,
    s_tp1: Array,
    pi_t: Array,
    pi_tp1: Array,
    actions: Array,
) -> tuple[Mixed, Array]:
    """The hidden layer of each step, and the contribution of each transition (zeros without a path)."""
    weights_at = functools.partial(critic.weights, n_agents=pi_t.shape[1])
    at_step = weights_at(s_t)
    mixed = at_step.mix(pi_t, actions)
    if path is None:
        return mixed, jnp.zeros(pi_t.shape[:2], pi_t.dtype)
    return mixed, transition_contribution_fast(weights_at, at_step, s_t, s_tp1, pi_t, pi_tp1, path)


def _second_visit(
    critic: MixingCritic,
    credit: Credit,
    mixed: Mixed,
    state: Array,
    probs: Array,
    actions: Array,
    order: Array,
    keys: Key[Array, " chunk"],
) -> Float[Array, "chunk agents"]:
    """Advantages of some steps under the given orders."""
    if credit.fast is not None:
        return credit.fast(mixed, order, keys)
    weights = critic.weights(state, probs.shape[1])
    found = jax.vmap(lambda w, *step: credit.fn(w.value, *step))(weights, probs, actions, order, keys)
    if found.shape[1:] != probs.shape[1:2]:
        raise ValueError(f"`credit` returns shape {list(found.shape[1:])}; expected {[probs.shape[1]]}")
    return found


def _stages(per_step: Array, episodes: Episodes, options: GradientOrder, axis: str | None) -> tuple[Array, Array]:
    """Contribution of each step's stage, and the mean over episodes of whole-episode contributions."""
    contribution = jax.vmap(functools.partial(by_stage, options=options))(per_step, episodes.valid)
    path = jax.vmap(functools.partial(on_path, options=options))(episodes.valid)
    whole = jnp.where(path[..., None], per_step, 0).sum(axis=(0, 1))
    whole, count = global_sum((whole, episodes.valid[:, 0].sum(dtype=per_step.dtype)), axis)
    return contribution, whole / count


def _descending(contribution: Array, team_mean: Array, previous: Array, options: GradientOrder) -> Array:
    if options.reduce == "batch_mean":
        mean = team_mean if options.source == "same" else previous
        return jnp.broadcast_to(descending(mean), contribution.shape)
    return jnp.argsort(-contribution, axis=-1, stable=True)


def _orders(
    critic: MixingCritic, episodes: Episodes, probs: Array, order: Order, keys: Key[Array, " batch"], state: PyTree
) -> Int[Array, "batch time agents"]:
    """Orders of a function of one episode."""
    n_agents = probs.shape[2]

    def critic_at(state_t: Array, inputs: Array) -> Array:
        return critic.weights(state_t, n_agents).value(inputs)

    def of_one(everything: tuple[Episodes, Array, Array]) -> Array:
        return order.fn(critic_at, *everything, state)

    batch = (dataclasses.replace(episodes, record=None), probs, keys)
    found = jax.lax.map(of_one, batch) if order.reads_critic else jax.vmap(of_one)(batch)
    expected = (*episodes.valid.shape[1:], n_agents)
    if found.shape[1:] != expected or not jnp.issubdtype(found.dtype, jnp.integer):
        raise ValueError(f"`order` returns {found.dtype}{list(found.shape[1:])}; expected int{list(expected)}")
    return found
