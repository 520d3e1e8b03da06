"""A batch of battles as two pure functions: what every face of this simulator is made of."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Shaped, UInt

from seca.smac import actions, observe, scenario, scripts, state, tick
from seca.smac.opponent import Opponent
from seca.types import TimeStep


@dataclasses.dataclass(frozen=True)
class Simulator:
    """Battles of one scenario: `reset` and `step` are pure, batched and free of learning.

    An unavailable action of a living agent is taken as stop, any action of a dead one as no-op. Stepping a finished
    battle changes nothing. At the time limit `truncated` is set and `terminated` is not. `info` holds `won`,
    `dead_allies` and `dead_enemies`. A battle's randomness depends on its own key only.

    Raises:
        ValueError: the rewards cannot be scaled, or there is no such opponent.
    """

    battlefield: scenario.Scenario
    """As the opponent prepares it."""
    options: scenario.Options = scenario.Options()
    opponent: Opponent | None = None
    """Who commands the enemy; None: whom the options name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "battlefield", self.commander.prepare(self.battlefield))
        if self.options.reward_scale and not self.battlefield.largest_return(self.options) > 0:
            raise ValueError(
                "`reward_scale` divides by the largest possible return, which is "
                f"{self.battlefield.largest_return(self.options)} with these rewards; it must be above 0, "
                "or reward_scale=False"
            )

    @property
    def commander(self) -> Opponent:
        """Who commands the enemy."""
        return self.opponent or scripts.by_name(self.options)

    @functools.cached_property
    def sizes(self) -> tuple[int, int]:
        """Lengths of one agent's observation and of the global state."""
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
        _, first = jax.eval_shape(self.reset, keys)
        return first.obs.shape[-1], first.state.shape[-1]

    def reset(self, keys: Key[Array, " batch"]) -> tuple[state.Battle, TimeStep]:
        """Battles at their start, one for each key. Arrays of the battles have the batch last."""
        seed = _seeds(keys)
        battle = self.commander.init(self.battlefield, state.spawn(self.battlefield, seed))
        return battle, self.show(battle, jnp.zeros(seed.shape, jnp.float32))

    def reseed(self, battle: state.Battle, keys: Key[Array, " batch"]) -> state.Battle:
        """The same battles with other luck from here on: all that is drawn later, the opponent's choices too."""
        return dataclasses.replace(battle, seed=_seeds(keys))

    def step(self, battle: state.Battle, requested: Shaped[Array, "batch agents"]) -> tuple[state.Battle, TimeStep]:
        """One env step (eight game loops) of every unfinished battle.

        Raises:
            ValueError: `requested` has no integer dtype.
        """
        requested = actions.whole(requested)
        if requested.shape[0] == 1:
            # XLA contracts the arithmetic of a single lane differently: as one of two it equals the lane of a larger
            # batch.
            twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), battle)
            twice, shown = self.step(twice, jnp.repeat(requested, 2, axis=0))
            return jax.tree.map(lambda x: x[..., :1], twice), jax.tree.map(lambda x: x[:1], shown)
        battle, reward = tick.step(self.battlefield, self.options, battle, requested.T, self.commander)
        return battle, self.show(battle, reward)

    def show(self, battle: state.Battle, reward: Array) -> TimeStep:
        """What battles show, given the rewards (`[batch]`) of the steps that led here."""
        field, options, units, a = self.battlefield, self.options, battle.units, self.battlefield.n_agents
        avail = actions.available(field, units)
        obs = observe.observe(field, options, units, avail, battle.last_action, battle.steps)
        if options.obs_instead_of_state:
            full = obs.reshape(obs.shape[0], -1)
        else:
            full = observe.observe_state(field, options, units, battle.last_action, battle.steps)
        return TimeStep(
            obs=obs,
            state=full,
            avail=jnp.transpose(avail, (2, 0, 1)),
            reward=reward,
            terminated=battle.terminated,
            truncated=battle.truncated,
            info={
                "won": battle.won,
                "dead_allies": (~units.alive[:a]).sum(axis=0, dtype=jnp.int32),
                "dead_enemies": (~units.alive[a:]).sum(axis=0, dtype=jnp.int32),
            },
        )


def _seeds(keys: Key[Array, " batch"]) -> UInt[Array, " batch"]:
    with jax.threefry_partitionable(True):  # Else the same key would make other battles.
        return jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)


def make(map_name: str, **options: Any) -> Simulator:
    """Battles on one map of seca/smac/maps.toml; `options` are fields of `seca.smac.scenario.Options` by name.

    `opponent` may also be a `seca.smac.opponent.Opponent`.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """
    chosen, opponent = scripts.read(options)
    return Simulator(scenario.load(map_name, chosen.profile, chosen.creep_decay), chosen, opponent)
