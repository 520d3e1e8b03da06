"""Episodes in the middle: they stand where `collect` had them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import small

from seca.envs.registry import make
from seca.presets import build
from seca.train.rollout import collect
from seca.train.standing import picked, standing_always, standing_at

NOW = jnp.zeros((), jnp.uint32)


@pytest.mark.slow
def test_steps_stand_where_they_stood() -> None:
    """All at once, and one after the other as an audit asks."""
    env, algorithm = make("smac/3m", {}), build("seca", make("smac/3m", {}).spec, small("seca"))
    params = algorithm.policy(algorithm.init(jax.random.key(0)))
    keys, episode, time = jax.random.split(jax.random.key(1), 3), jnp.array([2, 0, 1, 2]), jnp.array([3, 0, 4, 1])
    always = jax.jit(lambda keys: standing_always(env, algorithm, params, keys, NOW))(keys)
    some = jax.jit(lambda keys: standing_at(env, algorithm, params, keys, NOW, episode, time))(keys)
    for one, other in zip(jax.tree.leaves(picked(env, always, episode, time)), jax.tree.leaves(some), strict=True):
        one, other = (
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (one, other)
        )
        np.testing.assert_allclose(np.asarray(one, np.float64), np.asarray(other, np.float64), atol=1e-5)
    episodes, _ = jax.jit(lambda keys: collect(env, algorithm, params, keys, NOW))(keys)
    for name in ("obs", "state", "avail"):
        shown = getattr(some.time_step, name)
        np.testing.assert_allclose(shown, getattr(episodes, name)[episode, time], atol=1e-4)
    np.testing.assert_allclose(some.carry.hidden, episodes.record.hidden[episode, time], atol=1e-4)
    assert some.time.tolist() == time.tolist()
