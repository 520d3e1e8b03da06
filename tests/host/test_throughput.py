"""The rate is measured on the whole environment, over one device or several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import smac
from seca.host import throughput

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
