"""The game loops inside an env step: a row for each, and the step itself is as without looking."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.smac import actions, tick, trace

FIRST = 6


def test_a_shot_is_a_cooldown_that_rises():
    """By more than 1.5 loops, as no weapon does that reloads or waits; the rest of a row is the units as they are."""
    field = smac_lab.field(["marine"] * 2, ["zealot"] * 2)
    before = smac_lab.at(field, [(9 + k, 16) for k in range(4)], smac_lab.PASSIVE)
    before = eqx.tree_at(lambda b: b.units.cooldown, before, jnp.array([[0.0], [0.0], [-0.75], [3.0]]))
    after = eqx.tree_at(
        lambda b: (b.units.cooldown, b.units.health, b.orders.target, b.intent.engaged),
        before,
        (
            jnp.array([[1.5], [1.75], [12.0], [2.0]]),
            jnp.array([[45.0], [45.0], [100.0], [7.0]]),
            jnp.array([[-1], [3], [0], [1]]),
            jnp.array([[False], [True], [True], [False]]),
        ),
    )
    row = trace.seen(before, after)
    assert row.shot[:, 0].tolist() == [False, True, True, False]
    assert row.x[:, 0].tolist() == [9, 10, 11, 12] and (row.y == 16).all()
    assert row.health[:, 0].tolist() == [45, 45, 100, 7] and row.shield[:, 0].tolist() == [0, 0, 50, 50]
    assert row.target[:, 0].tolist() == [-1, 3, 0, 1] and row.engaged[:, 0].tolist() == [False, True, True, False]
    assert not row.energy.any()


@pytest.mark.slow
def test_the_loops_of_a_step(duel):
    """A stalker in range shoots once, three loops (0.167 s) after its swing began; the last row is the step's end."""
    battle = smac_lab.at(duel, [(9, 16), (14, 16)], smac_lab.PASSIVE)
    ordered = actions.command(duel, battle, jnp.array([[FIRST]]))
    rows = jax.jit(lambda b: trace.trace(duel, smac_lab.CALM, b, smac_lab.PASSIVE))(ordered)
    assert rows.shot[:, 0, 0].tolist() == [False] * 3 + [True] + [False] * 4 and not rows.shot[:, 1].any()
    assert rows.engaged[:, 0, 0].all() and (rows.target[:, 0, 0] == 1).all() and (rows.target[:, 1, 0] == -1).all()
    # The missile flies for 3.875 / 18.75 s, 3.3 loops.
    body = np.asarray(rows.health + rows.shield)[:, 1, 0]
    assert body.tolist() == [150.0] * 6 + [140.0] * 2
    end = jax.jit(lambda b: tick.play(duel, smac_lab.CALM, b, smac_lab.PASSIVE))(ordered)
    for name in ("x", "y", "health", "shield", "energy"):
        np.testing.assert_array_equal(getattr(rows, name)[-1], getattr(end.units, name), err_msg=name)
