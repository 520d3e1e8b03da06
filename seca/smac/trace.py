"""The game loops inside an env step, kept for those who want to see them."""

import functools

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int

from seca.smac import tick
from seca.smac.opponent import SCRIPTED, Opponent
from seca.smac.scenario import LOOPS_PER_STEP, Options, Scenario
from seca.smac.state import Battle

RELOADED = 1.5
"""Least rise of a cooldown, in game loops, that a shot explains: it runs down otherwise, or rises by less than 1."""


class Trace(eqx.Module):
    """What can be seen of the units after a game loop; ``loops`` are several such rows in front."""

    x: Float[Array, "*loops units batch"]
    y: Float[Array, "*loops units batch"]
    health: Float[Array, "*loops units batch"]
    shield: Float[Array, "*loops units batch"]
    energy: Float[Array, "*loops units batch"]
    target: Int[Array, "*loops units batch"]
    """Whom the unit's order is about, or `NOBODY`."""
    engaged: Bool[Array, "*loops units batch"]
    """The target was in range in this loop."""
    shot: Bool[Array, "*loops units batch"]
    """The unit shot at its target in this loop."""


def trace(scenario: Scenario, options: Options, ordered: Battle, opponent: Opponent = SCRIPTED) -> Trace:
    """The eight game loops of an env step from orders already given, as `seca.smac.tick.play`, with a row for each.

    Only looks: the battle goes on with the step itself. Means nothing in lanes whose battle is over.
    """
    battle = tick.begin(scenario, options, ordered, opponent)
    return jax.lax.scan(functools.partial(_loop, scenario, opponent), battle, length=LOOPS_PER_STEP)[1]


def _loop(scenario: Scenario, opponent: Opponent, battle: Battle, nothing: None) -> tuple[Battle, Trace]:
    del nothing  # A game loop has no input but the battle.
    after = tick.tick(scenario, opponent, battle)
    return after, seen(battle, after)


def seen(before: Battle, after: Battle) -> Trace:
    """One row: the units as they are, and who shot between the two."""
    units = after.units
    return Trace(
        x=units.x,
        y=units.y,
        health=units.health,
        shield=units.shield,
        energy=units.energy,
        target=after.orders.target,
        engaged=after.intent.engaged,
        shot=units.cooldown - before.units.cooldown > RELOADED,
    )
