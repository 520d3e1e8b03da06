"""Small battles set up by hand, run loop by loop."""

import contextlib
import functools
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from seca.smac import actions, combat, movement, scenario, state, tick
from seca.smac.opponent import SCRIPTED, Opponent

CALM = scenario.Options(jitter=False)
PASSIVE = Opponent(init=lambda field, battle: battle, act=lambda field, battle: battle)
"""An enemy without orders: it stands still and does not shoot."""


def field(
    allies: list[str], enemies: list[str], terrain: str = "simple", profile: str = "smac", **more
) -> scenario.Scenario:
    """A scenario of these units, in this order, on plain terrain unless told otherwise."""
    teams = {
        "allies": [{"unit": unit, "count": 1, "at": [9, 16]} for unit in allies],
        "enemies": [{"unit": unit, "count": 1, "at": [23, 16]} for unit in enemies],
    }
    types = list(dict.fromkeys(allies))
    rest = {"limit": 10_000, "ally_race": "P", "enemy_race": "P", "attack": {"point": [9, 16]}, "terrain": terrain}
    return scenario.build("lab", teams | rest | {"types": types} | more, profile)


def at(battlefield: scenario.Scenario, places: list, opponent: Opponent = SCRIPTED, seeds: int = 1) -> state.Battle:
    """Battles whose unit k stands at `places[k]` = (x, y), or lane by lane at ([x ..], [y ..])."""
    battle = opponent.init(battlefield, state.spawn(battlefield, jnp.arange(seeds, dtype=jnp.uint32)))
    x, y = (
        jnp.stack([jnp.broadcast_to(jnp.asarray(place[k], jnp.float32), seeds) for place in places]) for k in (0, 1)
    )
    return eqx.tree_at(lambda b: (b.units.x, b.units.y), battle, (x, y))


LONGEST = 120
"""Plans are filled up to this many steps, so that one compiled program serves all of a scenario."""


def run(battlefield, opponent, battle, plan, loops_each=8):
    """Follow a plan of actions `[steps, agents]`, without jitter; return the end and all loops (`[steps * 8, ...]`)."""
    steps = plan.shape[0]
    assert steps <= LONGEST
    filled = jnp.concatenate([plan, jnp.broadcast_to(plan[-1:], (LONGEST - steps, plan.shape[1]))])
    seen = jax.tree.map(np.asarray, _run(battlefield, opponent, battle, filled, loops_each))
    seen = jax.tree.map(lambda x: x[: steps * loops_each], seen)
    return jax.tree.map(lambda x: x[-1], seen), seen


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _run(battlefield, opponent, battle, plan, loops_each):
    def loop(battle, _):
        battle = tick.tick(battlefield, opponent, battle)
        return battle, battle

    def env_step(battle, acts):
        lanes = jnp.broadcast_to(acts[:, None], (acts.shape[0], battle.steps.shape[0]))
        battle = actions.command(battlefield, combat.draw(CALM, battle), lanes)
        return jax.lax.scan(loop, battle, None, length=loops_each)

    _, seen = jax.lax.scan(env_step, battle, plan)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)


def plan(*rows: list[int], repeat: int = 1) -> jax.Array:
    """Actions of all agents, step after step, as a whole repeated."""
    return jnp.asarray(np.tile(np.asarray(rows, np.int32), (repeat, 1)))


def body(battle: state.Battle) -> np.ndarray:
    """Health and shield of each unit, `[..., units, batch]`."""
    return np.asarray(battle.units.health) + np.asarray(battle.units.shield)


def field_at(allies: list[str], enemies: list[str], terrain: str | dict, at: tuple[float, float] = (16.0, 16.0)):
    """A scenario of these units on some terrain; they are set where they are wanted later."""
    teams = {
        "allies": [{"unit": unit, "count": 1, "at": at} for unit in allies],
        "enemies": [{"unit": unit, "count": 1, "at": at} for unit in enemies],
    }
    rest = {"limit": 10_000, "ally_race": "P", "enemy_race": "P", "attack": {"point": at}, "terrain": terrain}
    return scenario.build("lab", teams | rest | {"types": list(dict.fromkeys(allies))})


@functools.partial(jax.jit, static_argnums=(0, 2))
def stroll(battlefield, battle, loops):
    """Walk to where the orders say; return the end and the way walked, `[batch]`."""

    def loop(carry, _):
        battle, way = carry
        after = movement.walk(battlefield, movement.plan(battlefield, battle))
        step = jnp.hypot(after.units.x - battle.units.x, after.units.y - battle.units.y)
        return (after, way + step[0]), None

    return jax.lax.scan(loop, (battle, jnp.zeros(battle.steps.shape)), None, length=loops)[0]


def walkers(battlefield, start, goal):
    """The first ally on its way from `start` to `goal` (`[batch, 2]`), everybody else dead."""
    battle = state.spawn(battlefield, jnp.zeros(len(start), jnp.uint32))
    return eqx.tree_at(
        lambda b: (b.units.x, b.units.y, b.units.health, b.orders.goal_x, b.orders.goal_y, b.orders.walking),
        battle,
        (
            battle.units.x.at[0].set(start[:, 0]),
            battle.units.y.at[0].set(start[:, 1]),
            battle.units.health.at[1:].set(0.0),
            battle.orders.goal_x.at[0].set(goal[:, 0]),
            battle.orders.goal_y.at[0].set(goal[:, 1]),
            battle.orders.walking.at[0].set(True),
        ),
    )


@contextlib.contextmanager
def flags(**values: object) -> Iterator[None]:
    """These flags of JAX, without their `jax_`, as a user's environment may set them."""
    before = {name: getattr(jax.config, f"jax_{name}") for name in values}
    for name, value in values.items():
        jax.config.update(f"jax_{name}", value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(f"jax_{name}", value)


def same(left, right) -> bool:
    """Whether all arrays are equal."""
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))
