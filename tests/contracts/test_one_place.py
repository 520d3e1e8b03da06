"""A named credit or order is added in one place: its own file, and a line of the table."""

import sys
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.algos import seca
from seca.credit.base import Credit
from seca.credit.named import CREDITS
from seca.envs.registry import make
from seca.order.base import GradientOrder, Order
from seca.order.named import ORDERS
from seca.train.iterate import make_iterate
from seca.train.state import init_state

CREDIT_FILE = '''
"""The same credit for everybody: what the team's action is worth above its policies."""

import jax.numpy as jnp

from seca.credit.base import Credit, one_hot


def shared(q_fn, probs, action, order, key):
    """Q(u) - Q(pi)."""
    return jnp.full(probs.shape[0], q_fn(one_hot(action, probs)) - q_fn(probs))


SHARED = Credit("shared", shared, reads_order=False)
'''
ORDER_FILE = '''
"""The last agent first."""

import jax.numpy as jnp

from seca.order.base import Order


def backwards(critic, episode, probs, key, state):
    """Agents by descending index."""
    return jnp.broadcast_to(jnp.arange(probs.shape[1])[::-1], (*episode.valid.shape, probs.shape[1]))


BACKWARDS = Order("backwards", backwards)
'''


def added(name: str, source: str) -> types.ModuleType:
    """A module as if the file stood in its room."""
    module = types.ModuleType(name)
    exec(source, module.__dict__)
    sys.modules[name] = module
    return module


@pytest.mark.usefixtures("quick_programs")
def test_a_credit_and_an_order_are_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained with by their names, and told apart from those that were there."""
    monkeypatch.setitem(CREDITS, "shared", lambda samples, orders: added("seca.credit.shared", CREDIT_FILE).SHARED)
    monkeypatch.setitem(ORDERS, "backwards", lambda path: added("seca.order.backwards", ORDER_FILE).BACKWARDS)
    env = make("matrix/additive")
    for changes, shown in (({"credit": "shared"}, False), ({"order": "backwards"}, True)):
        config = seca.SecaConfig(actor_hidden=8, critic_embed=8, critic_width=8, **changes)
        algorithm = seca.named("mine", env.spec, config)
        _, metrics = make_iterate(env, algorithm, 8, jax.devices()[:1])(init_state(algorithm, 0))
        assert ("rank_mean" in metrics) is shown
        if shown:
            np.testing.assert_array_equal(metrics["rank_mean"], jnp.arange(env.spec.n_agents)[::-1])
        else:
            by_agent = np.asarray(metrics["advantage_agent_abs"])
            np.testing.assert_allclose(by_agent, by_agent[0], rtol=1e-6)


def test_the_options_list_the_tables() -> None:
    """What the command line offers is what the tables hold: no list of names stands anywhere else."""
    hints = typing.get_type_hints(seca.SecaConfig)
    assert typing.get_args(hints["credit"]) == tuple(CREDITS)
    assert typing.get_args(hints["order"]) == tuple(ORDERS)
    made: list[Credit | Order] = [make(8, 8) for make in CREDITS.values()]
    made += [make(GradientOrder()) for make in ORDERS.values()]
    assert [part.name for part in made] == [*CREDITS, *ORDERS]
