"""COMA as SQDDPG's authors run it on particle toys, and the sequential advantage on the very same critics: Fig. 2.

Zang et al. 2023, section 4.1: "we only change the way to compute the advantage". Everything else is the setting of the
code of Wang et al. 2020: networks without memory, a critic per agent that reads all observations and the others'
actions, and updates for so many env steps, wherever episodes end.
"""

import dataclasses
import functools
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.learning.buffer import Replay
from seca.learning.memory import training_bytes
from seca.learning.options import check_numbers
from seca.learning.told_critics import KIND, MOST_JOINT, Advantage, advantages, values_of
from seca.learning.transitions import Transitions, in_order, room
from seca.nets.stacked import AgentMLP
from seca.policies import entropy, masked_log_probs, mode, of_taken, sample
from seca.ranges import Count, Fraction, NonNegative, Positive, Range
from seca.returns import Targets
from seca.types import Acted, EnvSpec, Episodes, PyTree, TimeStep


@dataclasses.dataclass(frozen=True)
class ComaMpeConfig(Targets):
    """Options; the defaults are those of Predator-Prey in the public code, whose others are in docs/mpe.md."""

    actor_lr: Positive = 1e-3
    """Adam step size of the actors."""
    critic_lr: Positive = 1e-4
    """Adam step size of the critics."""
    batch: Annotated[int, Range(1, 100_000)] = 100
    """Env steps of an update, in the order in which they were made, whatever episodes they are of."""
    critic_epochs: Annotated[int, Range(1, 10_000)] = 10
    """Critic steps of an update, each with next actions drawn anew; then one actor step."""
    target_interval: Count = 200
    """Env steps between two mixes of the critics and actors into their targets."""
    target_share: Fraction = 0.1
    """Share that is mixed in."""
    entropy_coef: NonNegative = 1e-3
    """Weight of the entropy, which is summed over the batch while the loss is its mean: so in the public code."""
    clip: Positive = 1.0
    """Largest size of each entry of a gradient."""
    hidden: Count = 128
    """Width of the layers of actors and critics."""
    shared: bool = False
    """Whether agents share one actor and one critic, which then take one Adam step for each of them."""
    init_std: Positive = 0.1
    """Deviation of the initial weights."""
    advantage: Advantage = "counterfactual"
    """How an action is valued: COMA's Eq. 3; Eq. 5 with the probabilities of later agents in the place of their
    actions, or exact, over all their joint actions; or Eq. 4, with those of all others."""
    order: Literal["index", "random"] = "index"
    """Who is judged first: by number, or in a random order for each update."""


class Nets(eqx.Module):
    """Actors or critics with their target and the state of their optimiser. Arrays have the agents first."""

    params: AgentMLP
    target: AgentMLP
    opt: PyTree

    def step(self, gradient: PyTree, optimiser: optax.GradientTransformation, shared: bool) -> "Nets":
        """One Adam step of each agent; where they share a network it takes them all, one after another."""
        moves, opt = optimiser.update(gradient, self.opt)
        if shared:  # Adam's moves do not depend on the parameters: one after another is their sum.
            moves = jax.tree.map(lambda x: jnp.broadcast_to(x.sum(axis=0), x.shape), moves)
        return dataclasses.replace(self, params=eqx.apply_updates(self.params, moves), opt=opt)

    def mix(self, due: Bool[Array, ""], share: float) -> "Nets":
        """With a share mixed into the target, if `due`."""
        target = jax.tree.map(
            lambda old, new: jnp.where(due, (1 - share) * old + share * new, old), self.target, self.params
        )
        return dataclasses.replace(self, target=target)


class Learner(eqx.Module):
    """Everything that is learned, counted, or waits to be learned from. Arrays only."""

    actors: Nets
    critics: Nets
    waiting: Transitions
    """Env steps since the last update; the first `count` of its rows."""
    count: Int[Array, ""]
    updates: Int[Array, ""]
    measured: dict[str, Array]
    """Of the last update: an iteration may be too short for one."""


def coma_mpe(name: str, spec: EnvSpec, config: ComaMpeConfig) -> Algorithm:
    """Build it for one environment. Wang et al. 2020, `coma_fc`; Zang et al. 2023, section 4.1.

    Raises:
        ValueError: an option is out of range, or the team is too large for an exact advantage.
    """
    check_numbers(config)
    joint = spec.n_actions ** (spec.n_agents - 1)
    if config.advantage == "exact" and joint > MOST_JOINT:
        raise ValueError(
            f"`advantage` is exact but in `env` {spec.id} an agent's others have {joint:,} joint actions, over "
            f"{MOST_JOINT:,}: choose sequential"
        )
    if config.order != "index" and KIND[config.advantage] != "sequential":
        raise ValueError(f"`order` is {config.order} but `advantage` {config.advantage} asks for none: leave it out")
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actors.params,
        initial_carry=lambda batch: (),
        act=act,
        update=functools.partial(update, **bind),
        memory=functools.partial(memory, **bind),
        claims=Claims(KIND[config.advantage], functools.partial(claim, config=config)),
        told=lambda carry, actions: carry,
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: ComaMpeConfig) -> Learner:
    """Fresh networks; targets are copies of them."""
    actor_key, critic_key = jax.random.split(key)
    n, a, obs = spec.n_agents, spec.n_actions, spec.obs_size
    make = functools.partial(AgentMLP.init, n_agents=n, std=config.init_std, shared=config.shared)
    actors = make(actor_key, sizes=(obs, config.hidden, a))
    critics = make(critic_key, sizes=((n + 1) * obs + (n - 1) * a, config.hidden, a))
    zero = jnp.zeros((), jnp.int32)
    return Learner(
        actors=_fresh(actors, optimiser(config.actor_lr, config)),
        critics=_fresh(critics, optimiser(config.critic_lr, config)),
        waiting=room(spec, config.batch),
        count=zero,
        updates=zero,
        measured=_nothing_measured(n),
    )


def _fresh(params: PyTree, optimiser: optax.GradientTransformation) -> Nets:
    return Nets(params, jax.tree.map(jnp.copy, params), optimiser.init(params))


def optimiser(lr: float, config: ComaMpeConfig) -> optax.GradientTransformation:
    """Clips each entry of the gradient, then Adam."""
    return optax.chain(optax.clip(config.clip), optax.adam(lr))


def act(
    params: AgentMLP,
    carry: PyTree,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
) -> Acted:
    """Sample from the policy of the observation, or take its most probable action."""
    del env_steps  # No schedules.
    log_probs = masked_log_probs(params(time_step.obs), time_step.avail)
    return Acted(carry, mode(log_probs, time_step.avail) if greedy else sample(log_probs, keys))


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: ComaMpeConfig,
) -> tuple[Learner, dict[str, Array]]:
    """An update for every `batch` env steps, those that waited first; what is left over waits for the next.

    The public code updates in the middle of an episode, and stays on policy. Here actors stay as they are while
    episodes are played: with one runner a step may be two updates old where it has 200 steps and an update 100.
    """
    del replay  # On policy.
    if axis is not None:  # Every device learns from all episodes alike.
        episodes = jax.tree.map(lambda x: jax.lax.all_gather(x, axis, tiled=True), episodes)
    rows, total = in_order(learner.waiting, learner.count, episodes, config.time_limit)
    size = config.batch

    def one(number: Int[Array, ""], sofar: Learner) -> Learner:
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, number * size, size), rows)
        return learn(sofar, part, jax.random.fold_in(key, number), config)

    done = total // size
    after = jax.lax.fori_loop(0, done, one, learner)
    rest = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, done * size, size), rows)
    after = dataclasses.replace(after, waiting=rest, count=total - done * size)
    steps = (config.critic_epochs + 1) * after.updates
    return after, after.measured | {"gradient_steps": steps}


def learn(learner: Learner, batch: Transitions, key: PRNGKeyArray, config: ComaMpeConfig) -> Learner:
    """Critic steps and an actor step on one batch, then the targets where they are due."""
    order_key, target_key = jax.random.split(key)
    step = optimiser(config.critic_lr, config)

    def critic_step(critics: Nets, draw: PRNGKeyArray) -> tuple[Nets, tuple[Array, Array]]:
        targets = targets_of(learner.actors.target, critics.target, batch, draw, config.gamma)
        loss, gradient = jax.value_and_grad(critic_loss)(critics.params, batch, targets)
        return critics.step(gradient, step, config.shared), (loss, optax.tree.norm(gradient))

    draws = jax.random.split(target_key, config.critic_epochs)
    critics, (losses, norms) = jax.lax.scan(critic_step, learner.critics, draws)
    order = order_of(order_key, batch.actions.shape[1], config)
    probs = jnp.exp(masked_log_probs(learner.actors.params(batch.obs), batch.avail))
    advantage = advantages(critics.params, batch.obs, probs, batch.actions, order, config.advantage)
    (loss, entropies), gradient = jax.value_and_grad(actor_loss, has_aux=True)(
        learner.actors.params, batch, jax.lax.stop_gradient(advantage), config.entropy_coef
    )
    actors = learner.actors.step(gradient, optimiser(config.actor_lr, config), config.shared)
    updates = learner.updates + 1
    due = updates * config.batch // config.target_interval > learner.updates * config.batch // config.target_interval
    actors, critics = (nets.mix(due, config.target_share) for nets in (actors, critics))
    size = jnp.abs(advantage).mean(axis=0)
    measured = {
        "critic_loss": losses[0],
        "critic_gradient_norm": norms[0],
        "actor_loss": loss,
        "actor_gradient_norm": optax.tree.norm(gradient),
        "entropy": entropies.mean(),
        "advantage_mean": advantage.mean(),
        "advantage_abs": size.mean(),
        "advantage_agent_abs": size,
        "advantage_agent_std": advantage.std(axis=0),
    }
    return dataclasses.replace(learner, actors=actors, critics=critics, updates=updates, measured=measured)


def _nothing_measured(n_agents: int) -> dict[str, Array]:
    """Before the first update."""
    critic = ("critic_loss", "critic_gradient_norm")
    actor = ("actor_loss", "actor_gradient_norm", "entropy", "advantage_mean", "advantage_abs")
    found = {name: jnp.zeros((), jnp.float32) for name in (*critic, *actor)}
    return found | {f"advantage_agent_{name}": jnp.zeros(n_agents, jnp.float32) for name in ("abs", "std")}


def targets_of(
    actors: AgentMLP, critics: AgentMLP, batch: Transitions, key: PRNGKeyArray, gamma: float
) -> Float[Array, "rows agents"]:
    """r + gamma (1 - end) Q'_i(s', u'), the next actions u' drawn from the target actors."""
    log_probs = masked_log_probs(actors(batch.next_obs), batch.next_avail)
    drawn = jax.random.categorical(key, log_probs, mode="low")
    following = of_taken(values_of(critics, batch.next_obs, drawn), drawn)
    return batch.reward[:, None] + gamma * jnp.where(batch.ended[:, None], 0, following)


def critic_loss(critics: AgentMLP, batch: Transitions, targets: Float[Array, "rows agents"]) -> Float[Array, ""]:
    """Mean squared error of each agent's critic, summed over agents: each learns from its own alone."""
    taken = of_taken(values_of(critics, batch.obs, batch.actions), batch.actions)
    return ((taken - targets) ** 2).mean(axis=0).sum()


def actor_loss(
    actors: AgentMLP, batch: Transitions, advantage: Float[Array, "rows agents"], entropy_coef: float
) -> tuple[Float[Array, ""], Float[Array, " agents"]]:
    """sum_i mean_b [-A_i log pi_i(u_i)] - xi sum_b H(pi_i), and the mean entropies."""
    log_probs = masked_log_probs(actors(batch.obs), batch.avail)
    gain = (advantage * of_taken(log_probs, batch.actions)).mean(axis=0).sum()
    spread = entropy(jnp.exp(log_probs))
    return -gain - entropy_coef * spread.sum(), spread.mean(axis=0)


def order_of(key: PRNGKeyArray, n_agents: int, config: ComaMpeConfig) -> Int[Array, " agents"]:
    """Agent at each position."""
    by_number = jnp.arange(n_agents, dtype=jnp.int32)
    return by_number if config.order == "index" else jax.random.permutation(key, by_number)


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: ComaMpeConfig) -> Claim:
    """Each agent's advantage by the critics as they are."""
    del env_steps
    order = order_of(key, episodes.actions.shape[-1], config)
    obs, actions = episodes.obs[:, :-1], episodes.actions[:, :-1].astype(jnp.int32)
    probs = jnp.exp(masked_log_probs(learner.actors.params(obs), episodes.avail[:, :-1]))
    judge = functools.partial(advantages, order=order, kind=config.advantage)
    advantage = jax.vmap(judge, in_axes=(None, 0, 0, 0))(learner.critics.params, obs, probs, actions)
    credit = jnp.where(episodes.valid[..., None], advantage, 0)
    sequential = KIND[config.advantage] == "sequential"
    return Claim(credit, jnp.broadcast_to(order, credit.shape) if sequential else None)


def memory(batch: int, spec: EnvSpec, config: ComaMpeConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    n = spec.n_agents
    width = (n + 1) * spec.obs_size + n * spec.n_actions + 3 * config.hidden
    return training_bytes(learner, spec, batch, 2 * spec.obs_size + 4 * spec.n_actions, 8 * config.batch * n * width)
