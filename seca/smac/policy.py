"""A policy in command of the enemy: it sees what an agent in its place would see, and does what an agent may do."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seca import numerics
from seca.smac import actions
from seca.smac.exchange import Exchange, exchange, give_orders, mirrored
from seca.smac.opponent import SCRIPTED, Opponent
from seca.smac.scenario import Options, Scenario
from seca.smac.simulator import Simulator
from seca.smac.state import Battle
from seca.types import PyTree, TimeStep

Act = Callable[[PyTree, TimeStep, Key[Array, " batch"]], tuple[PyTree, Int[Array, "batch agents"]]]
"""`act(carry, time_step, keys) -> (carry, actions)`; the carry's arrays have the batch first, as learners keep it."""


class Mind(eqx.Module):
    """What a policy in command of the enemy remembers, with the batch last."""

    last_action: Int[Array, "agents batch"]
    carry: PyTree


def policy_opponent(
    scenario: Scenario, options: Options, init: Callable[[int], PyTree], act: Act, name: str = "policy"
) -> Opponent:
    """An opponent that chooses SMAC's actions for the enemies once per env step, as if they were the agents.

    It is shown the battle with the teams in each other's places on the map turned over (`seca.smac.exchange.mirrored`),
    by the functions that show it to agents: what was trained on one side plays on the other. The reward it sees is 0.
    Keys come from the battle's seed and step, and are JAX's default kind whatever the session's is.

    Args:
        options: those of its own observations; `opponent` is not read.
        init: `init(batch) -> carry` at the start of battles.
        act: parameters are closed over.
        name: what the environment's options call it.

    Raises:
        ValueError: the teams of the scenario differ, or its map is not its own mirror image.
    """
    places = mirrored(scenario)
    eyes = Simulator(scenario, options, SCRIPTED)

    begin, decide = functools.partial(_begin, init), functools.partial(_decide, places, eyes, act)
    return Opponent(init=begin, decide=decide, prepare=fair, name=name)


def fair(scenario: Scenario) -> Scenario:
    """The scenario with neither side better off by the numbers of its units.

    Who is in the way is looked at one by one, and the first decides on which side to pass: by number that is allies
    first, which alone moves battles between equals to 44 : 56. Here agents and the enemies that are their mirror images
    take turns.
    """
    a = scenario.n_agents
    return dataclasses.replace(scenario, turns=np.stack([np.arange(a), mirrored(scenario).rows[:a]], axis=1).ravel())


def _begin(init: Callable[[int], PyTree], scenario: Scenario, battle: Battle) -> Battle:
    batch = battle.seed.shape[0]
    nothing = jnp.full((scenario.n_agents, batch), -1, jnp.int32)
    return dataclasses.replace(battle, opponent=Mind(nothing, _batch_last(init(batch))))


def _decide(places: Exchange, eyes: Simulator, act: Act, scenario: Scenario, battle: Battle) -> Battle:
    mind: Mind = battle.opponent
    theirs = exchange(places, battle, mind.last_action)
    shown = eyes.show(theirs, jnp.zeros_like(theirs.seed, jnp.float32))
    keys = jax.vmap(lambda seed, step: jax.random.fold_in(numerics.key(seed), step))(theirs.seed, theirs.steps)
    carry, taken = act(_batch_first(mind.carry), shown, keys)
    ordered = actions.command(scenario, theirs, actions.whole(taken).T)
    battle = give_orders(places, battle, ordered)
    return dataclasses.replace(battle, opponent=Mind(ordered.last_action, _batch_last(carry)))


def _batch_last(carry: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), carry)


def _batch_first(carry: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), carry)
