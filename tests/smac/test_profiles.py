"""Which maps can be played with which unit numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import smac
from seca.smac import scenario

SMACLITE = {"10m_vs_11m", "27m_vs_30m", "2c_vs_64zg", "2s3z", "2s_vs_1sc", "3s5z", "3s5z_vs_3s6z", "3s_vs_5z"}
SMACLITE |= {"bane_vs_bane", "corridor", "MMM", "MMM2"}
"""The maps in SMAClite's own list (uoe-agents/smaclite, smaclite/env/maps)."""


def numbers(field: scenario.Scenario) -> list[np.ndarray]:
    """Every array of a scenario that a profile can change."""
    names = ("health_max", "speed", "reach", "scan", "period", "damage", "radius", "separation", "blast", "late_delay")
    return [getattr(field, name) for name in names]


def test_there_are_twelve():
    assert len(SMACLITE) == 12 < len(scenario.map_names()) == 23


@pytest.mark.parametrize("name", scenario.map_names())
def test_profiles(name):
    """The ladder's numbers exist on every map, SMAClite's on those it has; elsewhere they are refused in one line."""
    plain, ladder = scenario.load(name), scenario.load(name, "ladder410")
    assert (plain.profile, ladder.profile, plain.unit_names) == ("smac", "ladder410", ladder.unit_names)
    assert all(np.isfinite(column).all() for column in numbers(ladder))
    if name not in SMACLITE:
        with pytest.raises(ValueError, match="`profile` smaclite exists on the maps SMAClite has .*2s3z") as caught:
            scenario.load(name, "smaclite")
        assert repr(name) in str(caught.value) and "\n" not in str(caught.value)
        return
    theirs = scenario.load(name, "smaclite")
    assert theirs.profile == "smaclite" and theirs.unit_names == plain.unit_names
    assert all(np.isfinite(column).all() for column in numbers(theirs))
    # Everything walks and shoots faster there.
    assert ((theirs.speed > plain.speed) | (plain.speed == 0)).all() or name == "bane_vs_bane"
    assert any((a != b).any() for a, b in zip(numbers(theirs), numbers(plain), strict=True))


@pytest.mark.usefixtures("quick_programs")
@pytest.mark.parametrize("name", ["2s3z", "MMM"])
def test_battles_with_smaclites_numbers(name):
    """They start and go on."""
    env = smac.make(name, profile="smaclite")
    battle, _ = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 1))
    after, shown = jax.jit(env.step)(battle, jnp.full((1, env.spec.n_agents), 4, jnp.int32))
    for leaf in jax.tree.leaves((after.units, shown)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    # Faster than anybody here: 8 ticks of 1/16 s at 2.9531 and 2.25 a second.
    moved = np.asarray(after.units.x - battle.units.x)[: env.spec.n_agents].max()
    assert moved > (1.1 * 1.4766 if name == "2s3z" else 1.1 * 1.125)
