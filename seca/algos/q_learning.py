"""Q-learning of a team: IQL, VDN, QMIX and what came of it, one learner from replayed episodes with a mixer."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.algos.mixing import MonotoneMixing, NamedMixing
from seca.learning import buffer as buffers
from seca.learning.acting import act_on_values, fresh_agent, initial_carry, utility_gain
from seca.learning.buffer import Replay, ReplayOptions
from seca.learning.devices import global_sum
from seca.learning.measures import count_steps
from seca.learning.memory import training_bytes
from seca.learning.options import check_numbers
from seca.learning.q_step import Method, Mixers, Networks, Regressed, Returns, regress, valued
from seca.learning.trained import Copied, Trained, clipped_adam, clipped_rmsprop, fresh, never_copied, norm
from seca.policies import Exploration
from seca.ranges import Count, Fraction, Positive, Range
from seca.returns import LambdaTargets
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class QLearningConfig(LambdaTargets, ReplayOptions, Exploration):
    """Options of the value-based methods; the mixer's own are under `mixing`."""

    mixing: NamedMixing = MonotoneMixing()
    """How utilities become a joint value."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """RMSprop has decay 0.99 and eps 1e-5 outside the root, as in PyMARL."""
    lr: Positive = 1e-3
    """Step size of all networks."""
    td_lambda: Fraction = 0.6
    """Lambda of the targets; 0 is one-step Q-learning."""
    traces: Literal["peng", "corrected"] = "peng"
    """`peng`: TD(lambda) on the values of greedy actions, biased when actions explore; `corrected`: Q*(lambda)."""
    double_q: bool = True
    """Greedy actions in the targets are those of the online network, or else of the target network."""
    loss_scale: Positive = 0.5
    """Factor of the squared TD error."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down."""
    target_interval: Count = 200
    """Least number of episodes between two copies of the networks into their targets."""
    updates: Annotated[int, Range(1, 10_000)] = 1
    """Gradient steps per iteration, each on newly drawn episodes. One, as in PyMARL, is few where 32 runners play:
    about 1,300 in 2M env steps of 2s3z."""
    agent_hidden: Count = 64
    """Width of the agent's layers and of its recurrent state."""


MakeMixer = Callable[[PRNGKeyArray, EnvSpec], PyTree]
"""`make_mixer(key, spec)`: a module of arrays, called as those of `nets.mixers` are. Agents act greedily each for
itself, so the joint value must not fall where an agent's utility rises."""


class Learner(eqx.Module):
    """Everything that a value-based method learns or counts. Arrays only."""

    networks: Trained
    episodes: Copied
    """Training episodes collected, and how many there were when the networks were last copied into the targets."""


def q_learning(name: str, spec: EnvSpec, config: QLearningConfig, make_mixer: MakeMixer | None = None) -> Algorithm:
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
    check_numbers(config)
    buffer = config.buffer(spec)
    if make_mixer is not None and not config.mixing.replaceable:
        raise ValueError("`make_mixer` is given but QTRAN mixes no utilities; choose another `mixing`")
    bind = {"spec": spec, "config": config, "make_mixer": make_mixer}
    jax.eval_shape(functools.partial(init, **bind), jax.random.key(0))  # Whether the mixer can serve the environment.
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.networks.params.agent,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.agent_hidden),
        act=functools.partial(act_on_values, exploration=config),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        buffer=buffer,
        claims=Claims(
            "independent",
            functools.partial(claim, config=config),
            says="its utility of what it did less the mean under its policy",
        ),
    )


def optimiser(config: QLearningConfig) -> optax.GradientTransformation:
    """Clipping, then Adam, or RMSprop as PyTorch has it."""
    rule = clipped_adam if config.optimiser == "adam" else clipped_rmsprop
    return rule(config.lr, config.clip_norm)


def init(key: PRNGKeyArray, spec: EnvSpec, config: QLearningConfig, make_mixer: MakeMixer | None = None) -> Learner:
    """Fresh networks, and targets that are copies of them."""
    agent_key, central_key, mixer_key = jax.random.split(key, 3)
    make_agent = functools.partial(fresh_agent, spec=spec, hidden=config.agent_hidden, outputs=spec.n_actions)
    central = make_agent(central_key) if config.mixing.has_central else None
    networks = Networks(make_agent(agent_key), _mixers(mixer_key, spec, config, make_mixer), central)
    return Learner(fresh(networks, optimiser(config), target=True), never_copied())


def _mixers(key: PRNGKeyArray, spec: EnvSpec, config: QLearningConfig, make_mixer: MakeMixer | None) -> Mixers:
    """Fresh mixing networks: those of the options, the main one in favour of who brings one."""
    if make_mixer is None:
        return config.mixing.init(key, spec, config.agent_hidden)
    if not config.mixing.has_central:
        return Mixers(make_mixer(key, spec))
    main = make_mixer(jax.random.split(key)[0], spec)
    return dataclasses.replace(config.mixing.init(key, spec, config.agent_hidden), main=main)


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay,
    key: PRNGKeyArray,
    axis: str | None,
    config: QLearningConfig,
) -> tuple[Learner, dict[str, Array]]:
    """Take gradient steps on drawn episodes, copy the networks when due.

    No step is taken before the buffer holds `batch_episodes`. Targets are copied after the first iteration at which
    `target_interval` episodes have been collected since the last copy, as in PyMARL. Measures are of the last step.
    """
    ready = buffers.has(replay, config.batch_episodes)
    steps = functools.partial(train, replay, jax.random.split(key, config.updates), config, axis)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(steps, learner.networks)[1])
    networks, found = jax.lax.cond(ready, steps, lambda same: (same, nothing), learner.networks)
    collected = learner.episodes.sofar + global_sum(episodes.valid[:, 0].sum(dtype=jnp.int32), axis)
    copy_now = ready & learner.episodes.due(collected, config.target_interval)
    following = Learner(networks.copy_when(copy_now), learner.episodes.after(collected, copy_now))
    return following, {"gradient_steps": networks.steps} | found


def regression(config: QLearningConfig) -> tuple[Method, Returns]:
    """What is valued, and how targets are made."""
    corrected = config.traces == "corrected"
    returns = Returns(config.gamma, config.td_lambda, corrected, config.double_q, config.time_limit)
    return config.mixing.method(config.loss_scale), returns


def train(
    replay: Replay, keys: Key[Array, " updates"], config: QLearningConfig, axis: str | None, before: Trained
) -> tuple[Trained, dict[str, Array]]:
    """One gradient step for each key, on episodes drawn with it; measures of the last one."""
    method, returns = regression(config)

    def step(networks: Trained, key: PRNGKeyArray) -> tuple[Trained, dict[str, Array]]:
        batch = buffers.sample(replay, config.batch_episodes, key, axis)
        found = regress(networks.params, networks.target, batch, method, returns, axis)
        return networks.step(found.gradient, optimiser(config)), measure(found, batch, axis)

    after, found = jax.lax.scan(step, before, keys)
    return after, jax.tree.map(lambda x: x[-1], found)


def measure(found: Regressed, batch: Episodes, axis: str | None) -> dict[str, Array]:
    """Loss, gradient norms and the scale of values; means are over valid steps of the drawn episodes."""
    steps = count_steps(batch, axis)

    def mean(values: Float[Array, "batch time columns"]) -> Float[Array, ""]:
        return global_sum(jnp.where(batch.valid, values.mean(axis=-1), 0).sum(), axis) / steps

    y_mean = mean(found.goal.y)
    return {
        "loss": found.loss,
        "gradient_norm": norm(found.gradient),
        "value_mean": mean(found.taken),
        "target_mean": y_mean,
        "target_std": jnp.sqrt(mean((found.goal.y - y_mean) ** 2)),
        "td_error_abs": mean(jnp.abs(found.taken - found.goal.y)),
        "greedy_value_mean": mean(found.goal.best),
    }


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: QLearningConfig) -> Claim:
    """What each agent's utility says of its action: q_i(u_i) - sum_a pi_i(a) q_i(a), pi epsilon-greedy.

    The value is that of the greedy joint action: what the networks expect of those who no longer explore.
    """
    del key  # Nothing is drawn.
    found = valued(learner.networks.params, learner.networks.target, episodes, *regression(config))
    credit, probs = utility_gain(found.utilities, episodes, config.epsilon(env_steps))
    return Claim(credit, team=found.error, policy=probs, value=found.greedy)


def memory(batch: int, spec: EnvSpec, config: QLearningConfig, make_mixer: MakeMixer | None = None) -> int:
    """Estimated peak bytes of training on one device: new and drawn episodes, networks' passes over these."""
    make = functools.partial(init, spec=spec, config=config, make_mixer=make_mixer)
    learner = jax.eval_shape(make, jax.random.key(0))
    rows = config.batch_episodes * (spec.episode_limit + 1) * spec.n_agents
    per_row = 4 * (6 * config.agent_hidden + 6 * spec.n_actions) + 4 * (spec.obs_size + spec.n_actions)
    return training_bytes(learner, spec, batch + config.batch_episodes, 0, rows * per_row // 2)
