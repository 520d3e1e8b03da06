"""Actors and critics of single agents, without memory, that learn from so many env steps at a time.

What the methods of the particle toys share: the setting of the code of Wang et al. 2020, under Fig. 2 of Zang et al.
2023. What each of them is, is on its own page of `algos`.
"""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from seca.distributions import PolicyFn, policy_for, policy_of
from seca.learning.transitions import Transitions, in_order, room
from seca.nets.stacked import AgentMLP
from seca.ranges import Count, Fraction, NonNegative, Positive
from seca.returns import Targets
from seca.types import Acted, EnvSpec, Episodes, PyTree, TimeStep


@dataclasses.dataclass(frozen=True)
class TransitionOptions(Targets):
    """Options; the defaults are those of Predator-Prey in the public code, whose others are in docs/mpe.md."""

    actor_lr: Positive = 1e-3
    """Adam step size of the actors."""
    critic_lr: Positive = 1e-4
    """Adam step size of the critics."""
    critic_epochs: Count = 10
    """Critic steps of an update; then comes one actor step."""
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
    kept: Transitions | None = None
    """Env steps to draw from, where a method learns from old ones: a ring."""


Learn = Callable[[Learner, Transitions, PRNGKeyArray], Learner]
"""`learn(learner, steps, key)`: an update, once there are so many steps more."""


def fresh_learner(
    key: PRNGKeyArray, spec: EnvSpec, options: TransitionOptions, critic: tuple[int, int], interval: int
) -> Learner:
    """Fresh networks, of which the targets are copies; `critic` are its inputs and outputs."""
    actor_key, critic_key = jax.random.split(key)
    make = functools.partial(AgentMLP.init, n_agents=spec.n_agents, std=options.init_std, shared=options.shared)
    actors = make(actor_key, sizes=(spec.obs_size, options.hidden, spec.action_width))
    critics = make(critic_key, sizes=(critic[0], options.hidden, critic[1]))
    zero = jnp.zeros((), jnp.int32)
    return Learner(
        actors=_fresh(actors, clipped(options.actor_lr, options)),
        critics=_fresh(critics, clipped(options.critic_lr, options)),
        waiting=room(spec, interval),
        count=zero,
        updates=zero,
        measured=_nothing_measured(spec.n_agents),
    )


def _fresh(params: PyTree, optimiser: optax.GradientTransformation) -> Nets:
    return Nets(params, jax.tree.map(jnp.copy, params), optimiser.init(params))


def clipped(lr: float, options: TransitionOptions) -> optax.GradientTransformation:
    """Clips each entry of the gradient, then Adam."""
    return optax.chain(optax.clip(options.clip), optax.adam(lr))


def act_in(spec: EnvSpec) -> Callable[..., Acted]:
    """`act` by policies of the form that an environment's actions have."""
    return functools.partial(act, form=policy_of(spec))


def act(
    params: AgentMLP,
    carry: PyTree,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
    form: PolicyFn,
) -> Acted:
    """Sample from the policy of the observation, or take its most probable action."""
    del env_steps  # No schedules.
    policy = form(params(time_step.obs), time_step.avail)
    return Acted(carry, policy.mode() if greedy else policy.sample(keys))


def update(
    learner: Learner,
    episodes: Episodes,
    key: PRNGKeyArray,
    axis: str | None,
    learn: Learn,
    options: TransitionOptions,
) -> tuple[Learner, dict[str, Array]]:
    """An update for every so many env steps, those that waited first; what is left over waits for the next.

    The public code updates in the middle of an episode, and stays on policy. Here actors stay as they are while
    episodes are played: with one runner a step may be two updates old where it has 200 steps and an update 100.
    """
    if axis is not None:  # Every device learns from all episodes alike.
        episodes = jax.tree.map(lambda x: jax.lax.all_gather(x, axis, tiled=True), episodes)
    rows, total = in_order(learner.waiting, learner.count, episodes, options.time_limit)
    size = learner.waiting.reward.shape[0]

    def one(number: Int[Array, ""], sofar: Learner) -> Learner:
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, number * size, size), rows)
        following = learn(sofar, part, jax.random.fold_in(key, number))
        before, after = (updates * size // options.target_interval for updates in (sofar.updates, sofar.updates + 1))
        nets = (net.mix(after > before, options.target_share) for net in (following.actors, following.critics))
        actors, critics = nets
        return dataclasses.replace(following, actors=actors, critics=critics, updates=sofar.updates + 1)

    done = total // size
    after = jax.lax.fori_loop(0, done, one, learner)
    rest = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, done * size, size), rows)
    after = dataclasses.replace(after, waiting=rest, count=total - done * size)
    steps = (options.critic_epochs + 1) * after.updates
    return after, after.measured | {"gradient_steps": steps}


def regressed(
    learner: Learner,
    loss: Callable[[AgentMLP, PyTree], Float[Array, ""]],
    batches: PyTree,
    options: TransitionOptions,
) -> tuple[Nets, dict[str, Array]]:
    """The critics after a step of `loss(critics, batch)` for each of so many batches, and the first one's measures."""
    optimiser = clipped(options.critic_lr, options)

    def step(critics: Nets, batch: PyTree) -> tuple[Nets, tuple[Array, Array]]:
        value, gradient = jax.value_and_grad(loss)(critics.params, batch)
        return critics.step(gradient, optimiser, options.shared), (value, optax.tree.norm(gradient))

    critics, (losses, norms) = jax.lax.scan(step, learner.critics, batches)
    return critics, {"critic_loss": losses[0], "critic_gradient_norm": norms[0]}


def improved(
    learner: Learner,
    loss: Callable[[AgentMLP], tuple[Float[Array, ""], Float[Array, " agents"]]],
    options: TransitionOptions,
) -> tuple[Nets, dict[str, Array]]:
    """The actors after a step of `loss(actors)`, which gives the entropies beside itself."""
    (value, entropies), gradient = jax.value_and_grad(loss, has_aux=True)(learner.actors.params)
    actors = learner.actors.step(gradient, clipped(options.actor_lr, options), options.shared)
    norm = optax.tree.norm(gradient)
    return actors, {"actor_loss": value, "actor_gradient_norm": norm, "entropy": entropies.mean()}


def score_loss(
    actors: AgentMLP, batch: Transitions, advantage: Float[Array, "rows agents"], entropy_coef: float
) -> tuple[Float[Array, ""], Float[Array, " agents"]]:
    """sum_i mean_b [-A_i log pi_i(u_i)] - xi sum_b H(pi_i), and the mean entropies."""
    policy = policy_for(batch.actions)(actors(batch.obs), batch.avail)
    gain = (advantage * policy.log_prob(batch.actions)).mean(axis=0).sum()
    spread = policy.entropy()
    return -gain - entropy_coef * spread.sum(), spread.mean(axis=0)


def policies_of(actors: AgentMLP, batch: Transitions) -> Float[Array, "*rows agents actions"]:
    """What the actors would do at each step, as networks are told it."""
    return policy_for(batch.actions)(actors(batch.obs), batch.avail).encoding


def sizes_of(advantage: Float[Array, "rows agents"]) -> dict[str, Array]:
    """Measures of advantages, of all and of each agent."""
    size = jnp.abs(advantage).mean(axis=0)
    return {
        "advantage_mean": advantage.mean(),
        "advantage_abs": size.mean(),
        "advantage_agent_abs": size,
        "advantage_agent_std": advantage.std(axis=0),
    }


def _nothing_measured(n_agents: int) -> dict[str, Array]:
    """Before the first update."""
    critic = ("critic_loss", "critic_gradient_norm")
    actor = ("actor_loss", "actor_gradient_norm", "entropy", "advantage_mean", "advantage_abs")
    found = {name: jnp.zeros((), jnp.float32) for name in (*critic, *actor)}
    return found | {f"advantage_agent_{name}": jnp.zeros(n_agents, jnp.float32) for name in ("abs", "std")}
