"""One game loop, and one env step of eight."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from seca.smac import actions, combat, movement, reward
from seca.smac.opponent import SCRIPTED, Opponent
from seca.smac.scenario import LOOPS_PER_STEP, Options, Scenario
from seca.smac.state import Battle

STAGES: tuple[Callable[[Scenario, Battle], Battle], ...] = (
    movement.plan,
    combat.fire,
    combat.hurt,
    combat.heal,
    combat.regenerate,
    movement.steer,
    movement.walk,
    movement.push_apart,
)
"""What happens in a game loop after the opponent has given its orders."""


def tick(scenario: Scenario, opponent: Opponent, battle: Battle) -> Battle:
    """One game loop: orders of the enemy, aims, shots, damage, healing, shields, steps."""
    battle = opponent.act(scenario, battle)
    for stage in STAGES:
        battle = stage(scenario, battle)
    return battle


def play(scenario: Scenario, options: Options, battle: Battle, opponent: Opponent = SCRIPTED) -> Battle:
    """The eight game loops of an env step, from orders already given."""
    battle = begin(scenario, options, battle, opponent)
    return jax.lax.fori_loop(0, LOOPS_PER_STEP, lambda _, b: tick(scenario, opponent, b), battle)


def begin(scenario: Scenario, options: Options, battle: Battle, opponent: Opponent = SCRIPTED) -> Battle:
    """What comes before the game loops of an env step: the opponent's decisions and the step's luck."""
    return combat.draw(options, opponent.decide(scenario, battle))


def step(
    scenario: Scenario,
    options: Options,
    battle: Battle,
    requested: Int[Array, "agents batch"],
    opponent: Opponent = SCRIPTED,
) -> tuple[Battle, Array]:
    """One env step of all battles; finished ones stay as they are.

    Returns the battles and their rewards.
    """
    return advance(scenario, options, battle, actions.command(scenario, battle, requested), opponent)


def advance(
    scenario: Scenario, options: Options, battle: Battle, ordered: Battle, opponent: Opponent = SCRIPTED
) -> tuple[Battle, Array]:
    """The same from orders already given: `ordered` is `battle` with new orders of the agents, whatever they are."""
    over = battle.terminated | battle.truncated
    after = play(scenario, options, ordered, opponent)
    outcome = reward.outcome(scenario, after.units)
    steps = battle.steps + 1
    gain = reward.reward(scenario, options, battle.units, after.units, outcome)
    after = eqx.tree_at(
        lambda b: (b.steps, b.terminated, b.truncated, b.won),
        after,
        (steps, outcome.over, ~outcome.over & (steps >= scenario.limit), outcome.won),
    )
    frozen = jax.tree.map(lambda new, old: jnp.where(over, old, new), after, battle)
    return frozen, jnp.where(over, 0.0, gain)
