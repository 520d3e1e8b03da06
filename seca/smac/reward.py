"""Who has won, and what a step pays."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from seca.smac.scenario import Options, Scenario
from seca.smac.state import Units, either


class Outcome(eqx.Module):
    """How battles stand. Both sides wiped out in the same step is a draw: over, neither won nor lost.

    On the maps with medivacs a team is beaten when nothing but its medivac lives; if both are, we have lost.
    """

    won: Bool[Array, " batch"]
    lost: Bool[Array, " batch"]
    over: Bool[Array, " batch"]


def outcome(scenario: Scenario, units: Units) -> Outcome:
    """Read the end of a battle off its units."""
    a, alive = scenario.n_agents, units.alive
    allies, enemies = alive[:a].any(axis=0), alive[a:].any(axis=0)
    won, lost = allies & ~enemies, ~allies & enemies
    if scenario.medivac_rule:
        medivac = np.array([[name == "medivac"] for name in scenario.unit_names])
        lost = ~(alive[:a] & ~medivac[:a]).any(axis=0)
        alone = (alive[a:].sum(axis=0, dtype=jnp.int32) == 1) & (alive[a:] & medivac[a:]).any(axis=0)
        won = ~lost & (won | alone)
    return Outcome(won=won, lost=lost, over=won | lost | ~(allies | enemies))


def reward(scenario: Scenario, options: Options, before: Units, after: Units, end: Outcome) -> Float[Array, " batch"]:
    """Reward of one step, SMAC's `reward_battle` and the bonus of the end.

        delta_enemy = sum_j (h_j + s_j)_t - alive_tp1 (h_j + s_j)_tp1,    deaths = 10 * kills
        reward = |delta_enemy + deaths|                                   (only positive)
        reward = delta_enemy + deaths - 0.5 (delta_ally + 10 * losses)    (else)

    over units alive at t. Regeneration makes delta_enemy negative, and SMAC's absolute value pays for it.
    """
    a = scenario.n_agents
    was, now = before.alive, after.alive & before.alive
    died = was & ~now
    total = lambda u, mask: jnp.where(mask, u.health + u.shield, 0.0)  # noqa: E731
    delta = total(before, was) - total(after, now) + either(died, options.reward_death_value, 0.0)
    enemy = delta[a:].sum(axis=0)
    if options.reward_sparse:
        gain = jnp.where(end.won, 1.0, either(end.lost, -1.0, 0.0))
    else:
        if not options.reward_only_positive:
            gain = enemy - options.reward_negative_scale * delta[:a].sum(axis=0)
        elif options.reward_abs:
            gain = jnp.abs(enemy)
        else:
            gain = jnp.maximum(enemy, 0.0)
        bonus = jnp.where(end.won, options.reward_win, either(end.lost, options.reward_defeat, 0.0))
        gain = gain + bonus
    if options.reward_scale:
        gain = gain / (scenario.largest_return(options) / options.reward_scale_rate)
    return gain
