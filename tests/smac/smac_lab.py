"""Small battles set up by hand, run loop by loop."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from seca.smac import actions, combat, scenario, state, tick
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
