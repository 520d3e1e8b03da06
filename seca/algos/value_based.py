"""IQL, VDN, QMIX and what came of it: one learner from replayed episodes, with the mixer as an argument."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.algos import replay as replays
from seca.algos.acting import Carry, initial_carry, n_agent_inputs
from seca.algos.actor_step import MASKED
from seca.algos.base import Acted, Algorithm
from seca.algos.config import check_numbers
from seca.algos.optim import clip_by_norm, global_sum, optimiser_state
from seca.algos.replay import Replay
from seca.algos.value_config import (
    AttentionMixing,
    DuplexMixing,
    MonotoneMixing,
    NoMixing,
    SumMixing,
    TransformedMixing,
    ValueBasedConfig,
    WeightedMixing,
)
from seca.algos.value_step import Mixers, Networks, Regressed, greedy_actions, regress
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.nets.mixers import (
    AttentionMixer,
    DuplexMixer,
    FreeMixer,
    JointValue,
    MonotoneMixer,
    NoMixer,
    SumMixer,
)
from seca.types import EnvSpec, Episodes, PyTree, TimeStep

MakeMixer = Callable[[PRNGKeyArray, EnvSpec], PyTree]
"""`make_mixer(key, spec)`: a module of arrays, called as those of `nets.mixers` are. Agents act greedily each for
itself, so the joint value must not fall where an agent's utility rises."""


class Learner(eqx.Module):
    """Everything that a value-based method learns, counts or remembers. Arrays only."""

    online: Networks
    target: Networks
    opt: PyTree
    replay: Replay
    episodes: Int[Array, ""]
    """Training episodes collected."""
    copied_at: Int[Array, ""]
    """How many there were when the networks were last copied into the targets."""
    gradient_steps: Int[Array, ""]


def value_based(name: str, spec: EnvSpec, config: ValueBasedConfig, make_mixer: MakeMixer | None = None) -> Algorithm:
    """Build a value-based method for one environment.

    Each iteration adds one batch of whole episodes to the buffer and makes `updates` gradient steps on drawn episodes.
    IQL, VDN (Sunehag et al. 2018), QMIX (Rashid et al. 2018), weighted QMIX (Rashid et al. 2020), QTRAN (Son et al.
    2019), QPLEX (Wang et al. 2021) and Qatten (Yang et al. 2020) differ in the mixer and its loss alone.

    Args:
        name: for run folders and messages.
        spec: the environment.
        config: options; `mixing` says how the loss is made, and which mixer it is unless one is given.
        make_mixer: a mixer of one's own in place of that of `config.mixing`.

    Raises:
        ValueError: an option is out of range, or the buffer cannot hold a batch, or the mixer cannot serve the env.
    """
    check(spec, config, make_mixer)
    bind = {"spec": spec, "config": config, "make_mixer": make_mixer}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.online.agent,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.agent_hidden),
        act=functools.partial(act, config=config),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        buffer=room(spec, config) * replays.episode_bytes(spec),
        room=room(spec, config),
        drawn={"batch_episodes": config.batch_episodes},
    )


def room(spec: EnvSpec, config: ValueBasedConfig) -> int:
    """Episodes that the buffer holds."""
    return replays.capacity(spec, config.buffer_episodes, config.buffer_gib)


def check(spec: EnvSpec, config: ValueBasedConfig, make_mixer: MakeMixer | None = None) -> None:
    """Raise ValueError in words for options that make no sense."""
    check_numbers(config)
    replays.check_room(spec, config.buffer_episodes, config.buffer_gib, batch_episodes=config.batch_episodes)
    if make_mixer is not None:
        if isinstance(config.mixing, TransformedMixing):
            raise ValueError("`make_mixer` is given but QTRAN mixes no utilities; choose another `mixing`")
        return
    if isinstance(config.mixing, AttentionMixing) and spec.ally_features == 0:
        raise ValueError(
            f"`env` is {spec.id}: Qatten reads each agent's features from the head of the state, in SMAC's order, and "
            "this state has none; choose a smac/ environment, without `obs_instead_of_state`, or another method"
        )


def make_mixers(
    key: PRNGKeyArray, spec: EnvSpec, config: ValueBasedConfig, make_mixer: MakeMixer | None = None
) -> Mixers:
    """Fresh mixing networks."""
    n, a, s = spec.n_agents, spec.n_actions, spec.state_size
    match config.mixing:
        case WeightedMixing(embed=embed, width=width, central_width=central_width):
            main_key, central_key = jax.random.split(key)
            central = FreeMixer.init(central_key, n, s, central_width)
            if make_mixer is not None:
                return Mixers(make_mixer(main_key, spec), central)
            return Mixers(MonotoneMixer.init(main_key, n, s, embed, width), central)
        case _ if make_mixer is not None:
            return Mixers(make_mixer(key, spec))
        case NoMixing():
            return Mixers(NoMixer())
        case SumMixing():
            return Mixers(SumMixer())
        case MonotoneMixing(embed, width):
            return Mixers(MonotoneMixer.init(key, n, s, embed, width))
        case DuplexMixing(width, kernels, depth):
            return Mixers(DuplexMixer.init(key, n, a, s, width, kernels, depth))
        case AttentionMixing(heads, key_size, width, constant_width):
            return Mixers(AttentionMixer.init(key, s, spec.ally_features, heads, key_size, width, constant_width))
        case TransformedMixing(embed=embed):
            return Mixers(JointValue.init(key, a, s, config.agent_hidden, embed))


def make_optimiser(config: ValueBasedConfig) -> optax.GradientTransformation:
    """Clipping, then Adam, or RMSprop as PyTorch has it."""
    if config.optimiser == "adam":
        return optax.chain(clip_by_norm(config.clip_norm), optax.adam(config.lr))
    rmsprop = optax.rmsprop(config.lr, decay=0.99, eps=1e-5, eps_in_sqrt=False)
    return optax.chain(clip_by_norm(config.clip_norm), rmsprop)


def make_networks(
    key: PRNGKeyArray, spec: EnvSpec, config: ValueBasedConfig, make_mixer: MakeMixer | None = None
) -> Networks:
    """Fresh networks."""
    agent_key, central_key, mixer_key = jax.random.split(key, 3)
    make_agent = functools.partial(
        RecurrentAgent.init, n_inputs=n_agent_inputs(spec), hidden=config.agent_hidden, n_actions=spec.n_actions
    )
    central = make_agent(central_key) if isinstance(config.mixing, WeightedMixing) else None
    return Networks(make_agent(agent_key), make_mixers(mixer_key, spec, config, make_mixer), central)


def init(key: PRNGKeyArray, spec: EnvSpec, config: ValueBasedConfig, make_mixer: MakeMixer | None = None) -> Learner:
    """Fresh networks, targets that are copies of them, and an empty buffer."""
    online = make_networks(key, spec, config, make_mixer)
    zero = jnp.zeros((), jnp.int32)
    return Learner(
        online=online,
        target=jax.tree.map(jnp.copy, online),
        opt=optimiser_state(make_optimiser(config), online),
        replay=replays.init(spec, room(spec, config)),
        episodes=zero,
        copied_at=zero,
        gradient_steps=zero,
    )


def epsilon(env_steps: Array, config: ValueBasedConfig) -> Float[Array, ""]:
    """Share of random actions: linear from start to finish over `epsilon_steps` env steps, then constant."""
    gone = jnp.minimum(env_steps.astype(jnp.float32) / config.epsilon_steps, 1)
    return config.epsilon_start + (config.epsilon_finish - config.epsilon_start) * gone


def act(
    params: RecurrentAgent,
    carry: Carry,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
    config: ValueBasedConfig,
) -> Acted:
    """Each agent for itself: its best available action, or with probability epsilon any available one."""
    hidden, q = params(agent_inputs(time_step.obs, carry.last_action), carry.hidden)
    actions = greedy_actions(q, time_step.avail)
    if not greedy:
        choose = functools.partial(_explore, share=epsilon(env_steps, config))
        actions = jax.vmap(choose)(keys, actions, time_step.avail)
    last_action = jax.nn.one_hot(actions, q.shape[-1], dtype=q.dtype)
    return Acted(Carry(hidden, last_action), actions)


def _explore(
    key: PRNGKeyArray, best: Int[Array, " agents"], avail: Array, share: Float[Array, ""]
) -> Int[Array, " agents"]:
    """Epsilon-greedy actions of one team."""
    whether_key, which_key = jax.random.split(key)
    explores = jax.random.uniform(whether_key, best.shape, jnp.float32) < share
    anything = jax.random.categorical(which_key, jnp.where(avail, 0.0, MASKED), mode="low").astype(best.dtype)
    return jnp.where(explores, anything, best)


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, config: ValueBasedConfig
) -> tuple[Learner, dict[str, Array]]:
    """Store the new episodes, take gradient steps on drawn ones, copy the networks when due.

    No step is taken before the buffer holds `batch_episodes`. Targets are copied after the first iteration at which
    `target_interval` episodes have been collected since the last copy, as in PyMARL. Measures are of the last step.
    """
    replay = replays.add(learner.replay, episodes, axis)
    count = global_sum(jnp.asarray(episodes.valid.shape[0], jnp.int32), axis)
    ready = replays.has(replay, config.batch_episodes)
    keys = jax.random.split(key, config.updates)
    steps = functools.partial(_steps, learner.target, replay, keys, config, axis)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(steps, learner.online, learner.opt)[2])
    online, opt, found = jax.lax.cond(ready, steps, lambda *same: (*same, nothing), learner.online, learner.opt)
    collected = learner.episodes + count
    copy_now = ready & (collected - learner.copied_at >= config.target_interval)
    stepped = Learner(
        online=online,
        target=jax.tree.map(lambda new, old: jnp.where(copy_now, new, old), online, learner.target),
        opt=opt,
        replay=replay,
        episodes=collected,
        copied_at=jnp.where(copy_now, collected, learner.copied_at),
        gradient_steps=learner.gradient_steps + config.updates * ready,
    )
    counts = {"gradient_steps": stepped.gradient_steps, "buffer_episodes": replays.filled(replay)}
    return stepped, counts | found


def _steps(
    target: Networks,
    replay: Replay,
    keys: Key[Array, " updates"],
    config: ValueBasedConfig,
    axis: str | None,
    online: Networks,
    opt: PyTree,
) -> tuple[Networks, PyTree, dict[str, Array]]:
    """One gradient step for each key, on episodes drawn with it; measures of the last one."""

    def step(before: tuple[Networks, PyTree], key: PRNGKeyArray) -> tuple[tuple[Networks, PyTree], dict[str, Array]]:
        networks, opt = before
        batch = replays.sample(replay, config.batch_episodes, key, axis)
        found = regress(networks, target, batch, config, axis)
        gradient: PyTree = found.gradient  # optax's own annotation leaves modules out.
        moves, opt = make_optimiser(config).update(gradient, opt)
        return (eqx.apply_updates(networks, moves), opt), measure(found, batch, axis)

    (online, opt), found = jax.lax.scan(step, (online, opt), keys)
    return online, opt, jax.tree.map(lambda x: x[-1], found)


def measure(found: Regressed, batch: Episodes, axis: str | None) -> dict[str, Array]:
    """Loss, gradient norms and the scale of values; means are over valid steps of the drawn episodes."""
    steps = global_sum(batch.valid.sum(), axis).astype(found.taken.dtype)

    def mean(values: Float[Array, "batch time columns"]) -> Float[Array, ""]:
        return global_sum(jnp.where(batch.valid, values.mean(axis=-1), 0).sum(), axis) / steps

    y_mean = mean(found.goal.y)
    return {
        "loss": found.loss,
        "gradient_norm": optax.tree.norm(found.gradient),
        "value_mean": mean(found.taken),
        "target_mean": y_mean,
        "target_std": jnp.sqrt(mean((found.goal.y - y_mean) ** 2)),
        "td_error_abs": mean(jnp.abs(found.taken - found.goal.y)),
        "greedy_value_mean": mean(found.goal.best),
    }


def memory(batch: int, spec: EnvSpec, config: ValueBasedConfig, make_mixer: MakeMixer | None = None) -> int:
    """Estimated peak bytes of training on one device: buffer, new and drawn episodes, networks' passes over these."""
    rows = config.batch_episodes * (spec.episode_limit + 1) * spec.n_agents
    per_row = 4 * (6 * config.agent_hidden + 6 * spec.n_actions) + 4 * (spec.obs_size + spec.n_actions)
    make = functools.partial(make_networks, spec=spec, config=config, make_mixer=make_mixer)
    networks = jax.eval_shape(make, jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(networks))
    episodes = (room(spec, config) + 3 * batch + 2 * config.batch_episodes) * replays.episode_bytes(spec)
    return episodes + 2 * rows * per_row + 4 * 6 * parameters
