"""Teams that follow simple rules: opponents beyond the scripted enemy, and yardsticks for what agents learn.

A script commands the agents of a battle by SMAC's own actions, once per env step, and sees everything. As an opponent
it commands the enemies, who then may do what agents may: nobody acts by itself.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from seca.smac import actions
from seca.smac.exchange import exchange, give_orders, swapped
from seca.smac.opponent import Opponent, scripted
from seca.smac.scenario import LOOPS_PER_STEP, MOVE_AMOUNT, MOVES, Options, Scenario, read_options
from seca.smac.state import NOBODY, Battle
from seca.types import PyTree

NEVER = 1e9
"""Squared distance, and body, of what does not come into question."""
SOON = LOOPS_PER_STEP / 2
"""Kiting units turn to shoot when their weapon will be ready in this many game loops."""
MARGIN = 2.0
"""Kiting units keep this much out of reach of what could hit them."""
_MELEE = 1.0


@dataclasses.dataclass(frozen=True)
class Script:
    """Who commands the agents of a battle: state in, state out."""

    init: Callable[[Scenario, int], PyTree]
    """`init(scenario, batch) -> carry` at the start of battles: arrays with the batch last."""
    act: Callable[[Scenario, Battle, PyTree], tuple[PyTree, Int[Array, "agents batch"]]]
    """`act(scenario, battle, carry) -> (carry, actions)`."""


def opponent(script: Script, name: str) -> Opponent:
    """The script in command of the enemy, on any map."""

    begin, decide = functools.partial(_begin, script.init), functools.partial(_decide, script.act)
    return Opponent(init=begin, decide=decide, name=name)


def _begin(init: Callable[[Scenario, int], PyTree], scenario: Scenario, battle: Battle) -> Battle:
    carry = init(swapped(scenario).scenario, battle.seed.shape[0])
    return dataclasses.replace(battle, opponent=carry)


def _decide(act: Callable[[Scenario, Battle, PyTree], Any], scenario: Scenario, battle: Battle) -> Battle:
    places = swapped(scenario)
    nothing = jnp.full((scenario.n_enemies, battle.seed.shape[0]), -1, jnp.int32)
    theirs = exchange(places, battle, nothing)
    carry, taken = act(places.scenario, theirs, battle.opponent)
    battle = give_orders(places, battle, actions.command(places.scenario, theirs, taken))
    return dataclasses.replace(battle, opponent=carry)


def act_randomly(scenario: Scenario, battle: Battle, carry: PyTree) -> tuple[PyTree, Int[Array, "agents batch"]]:
    """Each agent takes any of its available actions, all alike: a hash of the battle's seed, the step and the agent."""
    legal = actions.available(scenario, battle.units)
    agent = jnp.arange(scenario.n_agents, dtype=jnp.uint32)[:, None]
    z = battle.seed[None, :] ^ (battle.steps.astype(jnp.uint32)[None, :] * jnp.uint32(0x27D4EB2F))
    for multiplier in (0x7FEB352D, 0x846CA68B):
        z = (z ^ (z >> 16)) * jnp.uint32(multiplier) + agent * jnp.uint32(0x9E3779B1)
    part = ((z ^ (z >> 15)) >> 8).astype(jnp.float32) * jnp.float32(2**-24)
    rank = jnp.floor(part * legal.sum(axis=1, dtype=jnp.float32)).astype(jnp.int32)
    counted = jnp.cumsum(legal, axis=1, dtype=jnp.int32)
    return carry, jax.lax.argmax(counted > rank[:, None], 1, jnp.int32)


def heuristic(
    scenario: Scenario, battle: Battle, carry: Int[Array, "agents batch"]
) -> tuple[Int[Array, "agents batch"], Int[Array, "agents batch"]]:
    """SMAC's own heuristic with `heuristic_rest`: its targets, attacked where that is available, else walked to.

    The nearest foe, centre to centre, until it is dead; marauders pass medivacs by. Medivacs: the nearest wounded
    friend until it is whole. Walking is a step along the larger distance. `get_agent_action_heuristic` of
    smac/env/starcraft2/starcraft2.py.
    """
    target = _kept_until_dead(scenario, battle, carry)
    return target, pursue(scenario, battle, target)


def heuristic_orders(
    scenario: Scenario, battle: Battle, carry: Int[Array, "agents batch"]
) -> tuple[Int[Array, "agents batch"], Battle]:
    """The same without `heuristic_rest`: each agent is ordered to attack (heal) its target wherever that is.

    Returns the carry and the battle with these orders, for `seca.smac.tick.advance`.
    """
    a = scenario.n_agents
    target = _kept_until_dead(scenario, battle, carry)
    orders, weapons = battle.orders, battle.weapons
    orders = dataclasses.replace(
        orders, target=orders.target.at[:a].set(target), walking=orders.walking.at[:a].set(False)
    )
    swing = weapons.swing.at[:a].set(jnp.where(target == battle.orders.target[:a], weapons.swing[:a], 0.0))
    weapons = dataclasses.replace(weapons, swing=swing)
    return target, dataclasses.replace(battle, orders=orders, weapons=weapons)


def attack_nearest(scenario: Scenario, battle: Battle, carry: PyTree) -> tuple[PyTree, Int[Array, "agents batch"]]:
    """As the heuristic, but the nearest is looked for in every step."""
    return carry, pursue(scenario, battle, _nearest(_squared_distances(scenario, battle)))


def focus_fire(scenario: Scenario, battle: Battle, carry: PyTree) -> tuple[PyTree, Int[Array, "agents batch"]]:
    """All shoot the same foe: of those that some agent can attack now, the one with the least health and shield.

    Who cannot attack it attacks the weakest of those it can, and walks to it if there is none. Healers heal the nearest
    wounded friend.
    """
    a, units = scenario.n_agents, battle.units
    squared = _squared_distances(scenario, battle)
    fights = jnp.asarray(scenario.heals[:a, :, None] == 0)
    body = jnp.broadcast_to((units.health + units.shield)[None], squared.shape)
    weak = jnp.where(_offered(scenario, battle, squared), body, NEVER)
    team = jnp.where(fights, weak, NEVER).min(axis=0)
    chosen = jnp.where(team.min(axis=0) < NEVER, jax.lax.argmin(team, 0, jnp.int32), NOBODY)[None]
    nearest = _nearest(squared)
    own = jnp.where(weak.min(axis=1) < NEVER, jax.lax.argmin(weak, 1, jnp.int32), nearest)
    hits_it = jnp.take_along_axis(weak, jnp.maximum(chosen, 0)[:, None], axis=1)[:, 0] < NEVER
    idle = weak.min(axis=1) >= NEVER
    may = jnp.take_along_axis(squared, jnp.maximum(chosen, 0)[:, None], axis=1)[:, 0] < NEVER
    target = jnp.where((chosen != NOBODY) & (hits_it | (idle & may)), chosen, own)
    return carry, pursue(scenario, battle, jnp.where(scenario.heals[:a] > 0, nearest, target))


def kite(scenario: Scenario, battle: Battle, carry: PyTree) -> tuple[PyTree, Int[Array, "agents batch"]]:
    """As attack-nearest, but units that shoot farther than a foe can reach step away from it while they reload.

    Away is the available move after which the nearest foe is farthest.
    """
    a, units = scenario.n_agents, battle.units
    squared = _squared_distances(scenario, battle)
    nearest = _nearest(squared)
    attack = pursue(scenario, battle, nearest)
    legal = actions.available(scenario, units)

    hits = jnp.asarray(scenario.can_target[a:, :a].T[:, :, None] & (scenario.heals[a:, 0] == 0)[None, :, None])
    dangerous = hits & units.alive[None, a:]
    x, y = units.x[:a, None], units.y[:a, None]
    apart = jnp.sqrt((units.x[None, a:] - x) ** 2 + (units.y[None, a:] - y) ** 2)
    outranged = jnp.asarray(scenario.reach[:a] > scenario.reach[a:, 0] + _MELEE)[:, :, None]
    room = jnp.asarray(scenario.radius[:a] + scenario.radius[a:, 0] + scenario.reach[a:, 0] + MARGIN)[:, :, None]
    threatened = (dangerous & outranged & (apart < room)).any(axis=1)

    steps = jnp.asarray(actions.DIRECTIONS * MOVE_AMOUNT)
    to_x, to_y = x + steps[None, :, :1], y + steps[None, :, 1:]
    away = (units.x[None, None, a:] - to_x[:, :, None]) ** 2 + (units.y[None, None, a:] - to_y[:, :, None]) ** 2
    safety = jnp.where(dangerous[:, None], away, NEVER).min(axis=2)
    safety = jnp.where(legal[:, 2:MOVES], safety, -1.0)
    flee = jax.lax.argmax(safety, 1, jnp.int32) + 2
    loaded = (units.cooldown[:a] <= SOON) | (battle.weapons.swing[:a] > 0)
    runs = threatened & ~loaded & (safety.max(axis=1) >= 0)
    return carry, jnp.where(runs, flee, attack)


def pursue(scenario: Scenario, battle: Battle, target: Int[Array, "agents batch"]) -> Int[Array, "agents batch"]:
    """Actions that attack (for healers, heal) unit `target` where available, else a step along the larger distance.

    If that way is blocked a step along the other one; without a target, or without a way, stop. No-op for the dead.
    """
    a, units = scenario.n_agents, battle.units
    legal = actions.available(scenario, units)
    index = jnp.maximum(target, 0)
    dx = jnp.take_along_axis(units.x, index, axis=0) - units.x[:a]
    dy = jnp.take_along_axis(units.y, index, axis=0) - units.y[:a]
    first = np.where(scenario.heals[:a] > 0, 0, a).astype(np.int32)
    attack = target - first + MOVES
    along_x, along_y = jnp.where(dx > 0, np.int32(4), np.int32(5)), jnp.where(dy > 0, np.int32(2), np.int32(3))
    wide = jnp.abs(dx) > jnp.abs(dy)

    def allowed(action: Array) -> Bool[Array, "agents batch"]:
        there = jnp.clip(action, 0, scenario.n_actions - 1)
        return jnp.take_along_axis(legal, there[:, None], axis=1)[:, 0] & (there == action) & (target != NOBODY)

    chosen = jnp.full_like(target, actions.STOP)
    for wish in (jnp.where(wide, along_y, along_x), jnp.where(wide, along_x, along_y), attack):
        chosen = jnp.where(allowed(wish), wish, chosen)
    return jnp.where(units.alive[:a], chosen, actions.NO_OP).astype(jnp.int32)


def _squared_distances(scenario: Scenario, battle: Battle) -> Float[Array, "agents units batch"]:
    """From centre to centre; `NEVER` for what the agent cannot attack, for whole friends, and for the dead."""
    a, units = scenario.n_agents, battle.units
    dx, dy = units.x[None] - units.x[:a, None], units.y[None] - units.y[:a, None]
    sides = (np.arange(scenario.n_units) < a) == (scenario.heals[:a] > 0)
    possible = jnp.asarray((scenario.can_target[:a] & sides)[:, :, None]) & units.alive[None]
    if scenario.heals[:a].any():
        possible &= jnp.asarray(scenario.heals[:a, :, None] == 0) | (units.health < scenario.health_max)[None]
    return jnp.where(possible, dx * dx + dy * dy, NEVER)


def _nearest(squared: Float[Array, "agents units batch"]) -> Int[Array, "agents batch"]:
    """Unit index of the nearest of them, or `NOBODY`."""
    return jnp.where(squared.min(axis=1) < NEVER, jax.lax.argmin(squared, 1, jnp.int32), NOBODY)


def _kept_until_dead(scenario: Scenario, battle: Battle, old: Int[Array, "agents batch"]) -> Int[Array, "agents batch"]:
    """The old target while there is one (of healers, while it is wounded), else the nearest."""
    squared = _squared_distances(scenario, battle)
    still = jnp.take_along_axis(squared, jnp.maximum(old, 0)[:, None], axis=1)[:, 0] < NEVER
    return jnp.where((old != NOBODY) & still, old, _nearest(squared))


def _offered(
    scenario: Scenario, battle: Battle, squared: Float[Array, "agents units batch"]
) -> Bool[Array, "agents units batch"]:
    """Which units each agent has an action for now, and one that does something."""
    a = scenario.n_agents
    foes = actions.available(scenario, battle.units)[:, MOVES:] & jnp.asarray(scenario.heals[:a, :, None] == 0)
    return jnp.concatenate([jnp.zeros((a, a, foes.shape[2]), bool), foes], axis=1) & (squared < NEVER)


def _no_carry(scenario: Scenario, batch: int) -> PyTree:
    del scenario, batch  # Nothing to remember.
    return ()


def _no_targets(scenario: Scenario, batch: int) -> Int[Array, "agents batch"]:
    return jnp.full((scenario.n_agents, batch), NOBODY, jnp.int32)


SCRIPTS = {
    "random": Script(_no_carry, act_randomly),
    "nearest": Script(_no_carry, attack_nearest),
    "heuristic": Script(_no_targets, heuristic),
    "focus_fire": Script(_no_carry, focus_fire),
    "kite": Script(_no_carry, kite),
}
"""Scripts by name."""
OPPONENTS = ("scripted", *SCRIPTS)
"""What the option `opponent` can be: the enemy of SMAC's maps, or a script."""


@functools.cache
def by_name(options: Options) -> Opponent:
    """The opponent that the options name.

    Raises:
        ValueError: there is no such opponent.
    """
    if options.opponent == "scripted":
        return scripted(options)
    if options.opponent in SCRIPTS:
        return opponent(SCRIPTS[options.opponent], options.opponent)
    raise ValueError(f"`opponent` must be one of {', '.join(OPPONENTS)}; got {options.opponent!r}")


def read(values: Mapping[str, Any]) -> tuple[Options, Opponent | None]:
    """Options from names and values, where the value of `opponent` may also be an `Opponent` of one's own.

    Returns the options, with the opponent's name, and the opponent if there was one.

    Raises:
        ValueError: no such option, or a value it cannot take.
    """
    own = values.get("opponent")
    if isinstance(own, Opponent):
        return read_options({**values, "opponent": own.name}), own
    return read_options(dict(values)), None
