"""The simulator in JaxMARL's form, so that JaxMARL's wrappers and baselines run on it.

Nothing here needs JaxMARL itself but the spaces, which its wrappers tell apart by their classes.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from seca import numerics
from seca.smac import simulator
from seca.smac.actions import whole
from seca.smac.state import Battle
from seca.types import PyTree, TimeStep


class State(eqx.Module):
    """A battle between two env steps and what it shows, batch axis first; without one it is a single battle."""

    battle: Battle
    shown: TimeStep


class SmacJaxEnv:
    """Battles on one map for agents `agent_0`, `agent_1`, ..., one battle per call: `vmap` makes batches.

    However many `vmap`s are around a call, the simulator sees one flat batch in its own layout, so that most of its
    speed is kept. Observations are a dict with `world_state` beside the agents, as in SMAX. An agent is done when it is
    dead or the battle is over; `done["__all__"]` includes the time limit, as everywhere in JaxMARL, and
    `info["truncated"]` tells. An unavailable action is taken as stop, by the dead as no-op. `info` repeats each value
    for all agents, as JaxMARL's baselines expect.

    Rewards are SMAC's, 20 for a perfect battle; `SMAXLogWrapper` takes any reward of 1 or more for a win, so read
    `info["won"]` instead (true in the step that wins). PPO with settings made for SMAX wants `reward_scale_rate=2.0`.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        options: fields of `seca.smac.scenario.Options` by name.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """

    def __init__(self, map_name: str, **options: Any) -> None:
        self.simulator = simulator.make(map_name, **options)
        field = self.simulator.battlefield
        self.map_name = map_name
        self.num_agents = self.num_allies = field.n_agents
        self.num_enemies = field.n_enemies
        self.agents = [f"agent_{i}" for i in range(field.n_agents)]
        self.max_steps = field.limit
        self.obs_size, self.state_size = self.simulator.sizes
        self._reset = flat_batch(functools.partial(_reset, self.simulator))
        self._step = flat_batch(functools.partial(_step, self.simulator))
        self._step_on = flat_batch(functools.partial(_step_on, self.simulator))

    @property
    def name(self) -> str:
        """JaxMARL's Q-learning asks for masks and the world state only where the name contains `smax`."""
        return f"smax-smac-{self.map_name}"

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """Agents by unit type."""
        names = self.simulator.battlefield.unit_names[: self.num_agents]
        return {
            unit: [a for a, n in zip(self.agents, names, strict=True) if n == unit] for unit in dict.fromkeys(names)
        }

    @functools.partial(jax.jit, static_argnums=0)
    def reset(self, key: PRNGKeyArray) -> tuple[dict[str, Array], State]:
        """Start a battle."""
        state = _only(self._reset(_typed(key)[None]))
        return self.get_obs(state), state

    @functools.partial(jax.jit, static_argnums=0)
    def step(
        self, key: PRNGKeyArray, state: State, actions: dict[str, Array], reset_state: State | None = None
    ) -> tuple[dict[str, Array], State, dict[str, Array], dict[str, Array], dict[str, Array]]:
        """One env step; a battle that ends gives way to a new one (or `reset_state`), of which obs and state are then.

        Reward, done and info are of the step that was played.
        """
        if reset_state is None:
            state, played = _only(self._step_on(_one(state), self._joint(actions)[None], _typed(key)[None]))
        else:
            after = _only(self._step(_one(state), self._joint(actions)[None]))
            played = after.shown
            state = jax.tree.map(functools.partial(jnp.where, _over(played)), reset_state, after)
        return self.get_obs(state), state, *self._told(played)

    @functools.partial(jax.jit, static_argnums=0)
    def step_env(
        self, key: PRNGKeyArray, state: State, actions: dict[str, Array]
    ) -> tuple[dict[str, Array], State, dict[str, Array], dict[str, Array], dict[str, Array]]:
        """One env step without a reset; a finished battle stays as it is."""
        del key  # A battle carries its own randomness.
        state = _only(self._step(_one(state), self._joint(actions)[None]))
        return self.get_obs(state), state, *self._told(state.shown)

    def get_obs(self, state: State) -> dict[str, Array]:
        """Float32 `[..., obs]` for each agent and `[..., state]` for `world_state`."""
        obs = state.shown.obs
        return {agent: obs[..., i, :] for i, agent in enumerate(self.agents)} | {"world_state": state.shown.state}

    def get_avail_actions(self, state: State) -> dict[str, Bool[Array, "*batch actions"]]:
        """Which actions each agent may take."""
        return {agent: state.shown.avail[..., i, :] for i, agent in enumerate(self.agents)}

    def get_world_state(self, state: State) -> Float[Array, "*batch state"]:
        """The global state."""
        return state.shown.state

    @functools.cached_property
    def observation_spaces(self) -> dict[str, Any]:
        """JaxMARL's spaces by agent. Raises ImportError without JaxMARL."""
        return {agent: _spaces().Box(-1.0, 1.0, (self.obs_size,), jnp.float32) for agent in self.agents}

    @functools.cached_property
    def action_spaces(self) -> dict[str, Any]:
        """JaxMARL's spaces by agent. Raises ImportError without JaxMARL."""
        return {agent: _spaces().Discrete(self.simulator.battlefield.n_actions) for agent in self.agents}

    def observation_space(self, agent: str) -> Any:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.action_spaces[agent]

    def _joint(self, actions: dict[str, Array]) -> Array:
        """Raises ValueError: an action has no integer dtype."""
        each = ((agent, jnp.reshape(jnp.asarray(actions[agent]), ())) for agent in self.agents)
        return jnp.stack([whole(action, f"actions` of `{agent}") for agent, action in each])

    def _told(self, shown: TimeStep) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        """Reward, done and info of one battle."""
        dead = shown.avail[:, 0]  # No-op is what the dead, and only they, may do.
        over = _over(shown)
        done = dict(zip(self.agents, dead | over, strict=True)) | {"__all__": over}
        told = shown.info | {"truncated": shown.truncated}
        info = {name: jnp.broadcast_to(value, (self.num_agents,)) for name, value in told.items()}
        return dict.fromkeys(self.agents, shown.reward), done, info


def flat_batch(fn: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Make `fn`, whose arrays all have the batch first, merge every `vmap` around it into that batch."""
    flat = jax.custom_batching.custom_vmap(fn)
    flat.def_vmap(functools.partial(_merge, flat))
    return flat


def _merge(flat: Callable[..., PyTree], size: int, batched: PyTree, *args: PyTree) -> tuple[PyTree, PyTree]:
    """The rule: `[size, batch, ...]` becomes `[size * batch, ...]` and back."""
    whole = jax.tree.map(lambda x, has: x if has else jnp.broadcast_to(x, (size, *x.shape)), args, tuple(batched))
    merged = jax.tree.map(lambda x: x.reshape(size * x.shape[1], *x.shape[2:]), whole)
    out = jax.tree.map(lambda x: x.reshape(size, x.shape[0] // size, *x.shape[1:]), flat(*merged))
    return out, jax.tree.map(lambda _: True, out)


def _reset(battles: simulator.Simulator, keys: Array) -> State:
    battle, shown = battles.reset(keys)
    return State(_batch_first(battle), shown)


def _step(battles: simulator.Simulator, state: State, actions: Array) -> State:
    battle, shown = battles.step(_batch_last(state.battle), actions)
    return State(_batch_first(battle), shown)


def _step_on(battles: simulator.Simulator, state: State, actions: Array, keys: Array) -> tuple[State, TimeStep]:
    """Play, and start anew what has ended: the state to go on from, and what the step showed."""
    after = _step(battles, state, actions)
    done = after.shown.done
    go_on = jax.lax.cond(done.any(), lambda: _where(done, _reset(battles, keys), after), lambda: after)
    return go_on, after.shown


def _over(shown: TimeStep) -> Bool[Array, "*batch"]:
    """`TimeStep.done`, which wants a batch axis, also of a single battle."""
    return shown.terminated | shown.truncated


def _where(done: Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda n, o: jnp.where(done.reshape(-1, *[1] * (o.ndim - 1)), n, o), new, old)


_batch_first = functools.partial(jax.tree.map, lambda x: jnp.moveaxis(x, -1, 0))
_batch_last = functools.partial(jax.tree.map, lambda x: jnp.moveaxis(x, 0, -1))
_one = functools.partial(jax.tree.map, lambda x: x[None])
_only = functools.partial(jax.tree.map, lambda x: x[0])


def _typed(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key as a typed one: JaxMARL still uses raw `uint32`, `[2]` of JAX's default generator, `[4]` of others."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return numerics.typed(key) if key.shape == (2,) else jax.random.wrap_key_data(key)


def _spaces() -> Any:
    try:
        return importlib.import_module("jaxmarl.environments.spaces")
    except ImportError as missing:
        raise ImportError("the JaxMARL view's spaces need jaxmarl: pip install 'seca[jaxmarl]'") from missing
