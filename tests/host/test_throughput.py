"""The rate is measured on the whole environment, over one device or several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import registry, smac
from seca.host import throughput
from seca.types import Box

pytestmark = pytest.mark.slow


def test_random_actions_are_legal_and_uniform():
    avail = jnp.asarray(np.random.default_rng(0).random((500, 3, 7)) < 0.4).at[..., 2].set(True)
    noise = jax.random.bits(jax.random.key(0), (500, 3), jnp.uint32)
    chosen = throughput.random_actions(avail, noise)
    assert jnp.take_along_axis(avail, chosen[..., None], axis=-1).all()
    every = throughput.random_actions(
        jnp.ones((4000, 1, 5), bool), jax.random.bits(jax.random.key(1), (4000, 1), jnp.uint32)
    )
    np.testing.assert_allclose(np.bincount(np.asarray(every[:, 0])) / 4000, 0.2, atol=0.03)


def test_random_numbers_are_anywhere_in_the_box():
    noise = jax.random.bits(jax.random.key(1), (4000, 2), jnp.uint32)
    found = np.asarray(throughput.random_numbers(Box((-1.0, 10.0), (1.0, 30.0)), noise))
    assert found.shape == (4000, 2, 2)
    for number, (low, high) in enumerate([(-1, 1), (10, 30)]):
        share = (found[..., number] - low) / (high - low)
        assert share.min() >= 0 and share.max() < 1 and (np.histogram(share, 5, (0, 1))[0] / 8000 > 0.17).all()
    # Neither numbers nor agents follow each other.
    assert np.abs(np.corrcoef(found.reshape(4000, -1).T) - np.eye(4)).max() < 0.1
    rate = throughput.measure(registry.make("mpe/predator-prey", {"actions": "continuous"}), 4, 0.05)
    assert rate["env_steps_per_second"] > 0


def test_measure():
    for devices in (1, 2):
        result = throughput.measure(smac.make("3m"), 4, 0.05, devices)
        assert result["env"] == "smac/3m" and result["devices"] == devices
        assert result["best_env_steps_per_second"] >= result["env_steps_per_second"] > 0


@pytest.mark.parametrize(
    ("batch", "seconds", "devices", "field"), [(3, 1.0, 2, "batch"), (4, 1.0, 0, "devices"), (4, 0.0, 1, "seconds")]
)
def test_measure_refuses(batch, seconds, devices, field):
    with pytest.raises(ValueError, match=f"`{field}`"):
        throughput.measure(smac.make("3m"), batch, seconds, devices)
