"""SQDDPG: policies that climb their own share of a joint value, shares that are mean marginal contributions.

Wang et al. 2020 (AAAI), the Shapley Q-value deep deterministic policy gradient. Critics are told of policies over
discrete actions their probabilities; of Gaussian ones an action drawn from each, with a slope back into its mean and
deviation.
"""

import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.distributions import centre, drawn_encoding, encoded, entropy_of, is_continuous
from seca.learning.buffer import Replay
from seca.learning.by_transitions import (
    Learner,
    TransitionOptions,
    act_in,
    fresh_learner,
    improved,
    policies_of,
    regressed,
    sizes_of,
)
from seca.learning.by_transitions import update as update_by_transitions
from seca.learning.memory import training_bytes
from seca.learning.options import check_numbers
from seca.learning.shapley_critics import drawn_orders, shares, told_alike, told_of_own
from seca.learning.transitions import Transitions, room, steps_of
from seca.nets.stacked import AgentMLP
from seca.ranges import Positive, Range
from seca.types import EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class SqddpgConfig(TransitionOptions):
    """Options; the defaults are those of Predator-Prey in the public code, whose others are in docs/mpe.md."""

    actor_lr: Positive = 1e-4
    """Adam step size of the actors."""
    critic_lr: Positive = 5e-4
    """Adam step size of the critics."""
    interval: Annotated[int, Range(1, 100_000)] = 100
    """Env steps from update to update."""
    batch: Annotated[int, Range(1, 100_000)] = 128
    """Env steps of a gradient step, drawn with replacement from those kept."""
    kept: Annotated[int, Range(1, 10_000_000)] = 10_000
    """How many of the latest env steps are kept."""
    orders: Annotated[int, Range(1, 1_000)] = 1
    """Orders drawn for each step, over which an agent's marginal contributions are averaged."""


def sqddpg(name: str, spec: EnvSpec, config: SqddpgConfig) -> Algorithm:
    """Build it for one environment. Wang et al. 2020.

    Raises:
        ValueError: an option is out of range, or fewer steps are kept than come between updates.
    """
    check_numbers(config)
    if config.kept < config.interval:
        raise ValueError(f"`kept` is {config.kept} and `interval` {config.interval}: keep at least so many env steps")
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actors.params,
        initial_carry=lambda batch: (),
        act=act_in(spec),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims(
            "shapley",
            functools.partial(claim, config=config),
            says="the slope of the agent's own share along what it did, dPhi_i/dpi_i (u_i - pi_i)",
        ),
        told=lambda carry, actions: carry,
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: SqddpgConfig) -> Learner:
    """Fresh networks, targets that are copies of them, and nothing kept."""
    inputs = spec.n_agents * (spec.obs_size + spec.action_width)
    learner = fresh_learner(key, spec, config, (inputs, 1), config.interval)
    return dataclasses.replace(learner, kept=room(spec, config.kept))


def update(
    learner: Learner, episodes: Episodes, replay: Replay | None, key: PRNGKeyArray, axis: str | None,
    config: SqddpgConfig,
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """An update for every `interval` env steps, those that waited first; what is left over waits for the next."""
    del replay  # Single env steps are kept, in the learner itself.
    return update_by_transitions(learner, episodes, key, axis, functools.partial(learn, config=config), config)


def learn(learner: Learner, new: Transitions, key: PRNGKeyArray, config: SqddpgConfig) -> Learner:
    """Keep the new steps; critic steps and an actor step, each on steps drawn anew."""
    assert learner.kept is not None
    kept = stored(learner.kept, new, learner.updates * config.interval)
    there = jnp.minimum((learner.updates + 1) * config.interval, config.kept)

    def drawn(key: PRNGKeyArray) -> tuple[Transitions, Int[Array, "orders rows agents"]]:
        which_key, order_key, _ = jax.random.split(key, 3)
        which = jax.random.randint(which_key, (config.batch,), 0, there)
        orders = drawn_orders(order_key, config.orders, config.batch, new.actions.shape[1])
        return jax.tree.map(lambda x: x[which], kept), orders

    def loss(critics: AgentMLP, key: PRNGKeyArray) -> Float[Array, ""]:
        draw_key, next_key, luck = jax.random.split(key, 3)
        batch, orders = drawn(draw_key)
        later = drawn_orders(next_key, config.orders, config.batch, new.actions.shape[1])
        given = batch, orders, later, luck, config
        return (td_errors(critics, learner.actors.target, learner.critics.target, *given) ** 2).mean()

    critic_key, actor_key = jax.random.split(key)
    critics, measures = regressed(learner, loss, jax.random.split(critic_key, config.critic_epochs), config)
    batch, orders = drawn(actor_key)
    luck = jax.random.split(actor_key, 3)[2]
    follow = functools.partial(actor_loss, critics=critics.params, batch=batch, orders=orders, luck=luck, config=config)
    actors, actor_measures = improved(learner, follow, config)
    credit = along_slope(critics.params, policies_of(learner.actors.params, batch), batch, orders)[1]
    measures |= actor_measures | sizes_of(credit)
    return dataclasses.replace(learner, actors=actors, critics=critics, measured=measures, kept=kept)


def stored(kept: Transitions, new: Transitions, before: Int[Array, ""]) -> Transitions:
    """With the new steps in the places of the oldest, `before` having been stored so far."""
    rows, size = new.reward.shape[0], kept.reward.shape[0]
    places = (before + jnp.arange(rows)) % size
    return jax.tree.map(lambda old, more: old.at[places].set(more), kept, new)


def td_errors(
    critics: AgentMLP,
    target_actors: AgentMLP,
    target_critics: AgentMLP,
    batch: Transitions,
    orders: Int[Array, "orders rows agents"],
    later: Int[Array, "orders rows agents"],
    luck: PRNGKeyArray,
    config: SqddpgConfig,
) -> Float[Array, " rows"]:
    """r + gamma (1 - end) sum_i Phi'_i(s', pi'(s')) - sum_i Phi_i(s, u). Wang et al. 2020, Eq. 19.

    The next orders are drawn apart from those of now; `luck` draws the next actions where they are continuous.
    """
    after = dataclasses.replace(batch, obs=batch.next_obs, avail=batch.next_avail)
    would = drawn_encoding(luck, policies_of(target_actors, after), is_continuous(batch.actions))
    following = shares(target_critics, batch.next_obs, told_alike(would), later)
    goal = batch.reward + config.gamma * jnp.where(batch.ended, 0, following.sum(axis=-1))
    taken = encoded(batch.actions, would.shape[-1], batch.obs.dtype)
    found = shares(critics, batch.obs, told_alike(taken), orders).sum(axis=-1)
    return jax.lax.stop_gradient(goal) - found


def actor_loss(
    actors: AgentMLP,
    critics: AgentMLP,
    batch: Transitions,
    orders: Int[Array, "orders rows agents"],
    luck: PRNGKeyArray,
    config: SqddpgConfig,
) -> tuple[Float[Array, ""], Float[Array, " agents"]]:
    """sum_i mean_b [-Phi_i(s, pi)] - xi sum_b H(pi_i), each share up its own policy alone, and the mean entropies."""
    probs = policies_of(actors, batch)
    would = drawn_encoding(luck, probs, is_continuous(batch.actions))
    share = shares(critics, batch.obs, told_of_own(would), orders)
    spread = entropy_of(probs, batch.actions)
    return -share.mean(axis=0).sum() - config.entropy_coef * spread.sum(), spread.mean(axis=0)


def along_slope(
    critics: AgentMLP,
    probs: Float[Array, "rows agents actions"],
    batch: Transitions,
    orders: Int[Array, "orders rows agents"],
) -> tuple[Float[Array, "rows agents"], Float[Array, "rows agents"]]:
    """Phi_i at the policies, or at their means, and dPhi_i/dpi_i (u_i - pi_i): what its slope says of each action."""
    middle = centre(probs, is_continuous(batch.actions))
    taken = encoded(batch.actions, middle.shape[-1], middle.dtype)
    own = jnp.eye(middle.shape[1], dtype=bool)[None, :, :, None]
    towards = jnp.where(own, told_alike(taken - middle), 0)
    return jax.jvp(lambda told: shares(critics, batch.obs, told, orders), (told_alike(middle),), (towards,))


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: SqddpgConfig) -> Claim:
    """What the slope of each agent's share says of its action; the value is the sum of shares at the policies."""
    del env_steps
    steps, critics = steps_of(episodes, config.time_limit), learner.critics
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    order_key, next_key, luck = jax.random.split(key, 3)
    now, later = (drawn_orders(drawn, config.orders, *flat.actions.shape[:2]) for drawn in (order_key, next_key))
    probs = policies_of(learner.actors.params, steps)
    share, credit = along_slope(critics.params, probs.reshape(-1, *probs.shape[2:]), flat, now)
    error = td_errors(critics.params, learner.actors.target, critics.target, flat, now, later, luck, config)
    rows = steps.reward.shape
    return Claim(
        jnp.where(episodes.valid[..., None], credit.reshape(*rows, -1), 0),
        team=jnp.where(episodes.valid, error.reshape(rows), 0),
        policy=probs,
        value=share.sum(axis=-1).reshape(rows),
    )


def memory(batch: int, spec: EnvSpec, config: SqddpgConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    n = spec.n_agents
    width = n * (spec.obs_size + spec.action_width) + 3 * config.hidden
    working = 8 * config.batch * config.orders * n * width
    return training_bytes(learner, spec, batch, 2 * spec.obs_size + 4 * spec.n_actions, working)
