"""What is held against the spec: everything built in passes, and a field that does not fit is named."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from seca.envs import check, matrix, registry
from seca.types import Box


@pytest.mark.parametrize("name", [*(f"matrix/{game}" for game in matrix.GAMES), "smac/3m", "smac/MMM2"])
def test_what_is_built_in_passes(name: str) -> None:
    assert check.check_env(registry.make(name)) is None


def test_every_option_of_what_is_shown_passes() -> None:
    """Sizes in the spec follow the options."""
    shown = ("obs_last_action", "obs_pathing_grid", "obs_terrain_height", "obs_timestep_number")
    env = registry.make("smac/2s3z", dict.fromkeys((*shown, "obs_instead_of_state"), True))
    assert check.check_env(env) is None


def test_the_batch_is_no_other_size() -> None:
    """Two agents: axes of two would be taken for one another with a batch of two."""
    env = registry.make("matrix/focus-fire")
    turned = dataclasses.replace(
        env,
        step=lambda state, actions: (
            env.step(state, actions)[0],
            eqx.tree_at(lambda shown: shown.obs, env.step(state, actions)[1], jnp.ones((2, len(actions), 1))),
        ),
    )
    with pytest.raises(ValueError, match=r"`obs` of `step` is float32\[2, 3, 1\]; .* float32\[3, 2, 1\]"):
        check.check_env(turned)


@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        (
            Box((-1.0, 0.0), (1.0, float("inf"))),
            "`spec.box.high` holds inf; every end of a box must be finite",
        ),
        (Box((float("nan"), 0.0), (1.0, 1.0)), "`spec.box.low` holds nan"),
        (Box((-1.0, 0.0), (1.0, 3.4e38)), "`spec.box.high` holds 3.4e\\+38; every end of a box must be finite"),
        (Box((-1.0,), (1.0, 1.0)), "`spec.box.low` is \\(-1.0,\\); it must be a tuple of `n_actions` = 2 numbers"),
        (Box((-1.0, 0.0), (1.0, 1e-60)), "`spec.box` goes from 0.0 to 1e-60; each low end must be below"),
        (Box((-1.0, 2.0), (1.0, 2.0)), "`spec.box` goes from 2.0 to 2.0; each low end must be below its high end"),
    ],
)
def test_a_box_that_cannot_be_served(box: Box, complaint: str) -> None:
    env = registry.make("matrix/additive")
    spec = dataclasses.replace(env.spec, n_actions=2, box=box)
    with pytest.raises(ValueError, match=complaint):
        check.check_env(dataclasses.replace(env, spec=spec))


def test_what_went_wrong_and_where_in_one_line() -> None:
    try:
        raise ValueError("one\ntwo")
    except ValueError as error:
        told = check.told(error)
    assert told.startswith("ValueError: one two (") and "test_check.py:" in told


def test_what_cannot_be_forked_is_named() -> None:
    """Effects beside what is returned, in `reset` or `step`; luck of which there is not one for each environment."""
    env = registry.make("matrix/additive")

    def told(result):
        jax.experimental.io_callback(lambda: None, None)
        return result

    assert check.check_pure(env) is None and check.check_pure(registry.make("smac/3m")) is None
    with pytest.raises(ValueError, match=r"`env` is matrix/additive, which is no pure function \(IO"):
        check.check_pure(dataclasses.replace(env, reset=lambda keys: told(env.reset(keys))))
    with pytest.raises(ValueError, match="cannot be forked"):
        check.check_pure(dataclasses.replace(env, step=lambda state, actions: told(env.step(state, actions))))
    several = dataclasses.replace(
        env,
        reset=lambda keys: ((env.reset(keys)[0], jax.random.split(keys[0], 7)), env.reset(keys)[1]),
        step=lambda state, actions: ((env.step(state[0], actions)[0], state[1]), env.step(state[0], actions)[1]),
    )
    with pytest.raises(ValueError, match=r"holds keys of shape \[7\], not one for each .* `reseed` to be forked"):
        check.check_pure(several)


def test_what_went_wrong_on_the_host_in_one_line() -> None:
    def dies() -> None:
        raise OSError("the game\nhas died")

    with pytest.raises(Exception, match="has died") as raised:
        jax.block_until_ready(jax.jit(lambda: jax.experimental.io_callback(dies, None))())
        jax.effects_barrier()
    told = check.told(raised.value)
    assert told.startswith("has died (") and "test_check.py:" in told


def test_a_reward_for_each_agent_is_told_what_it_should_be() -> None:
    env = registry.make("matrix/focus-fire")

    def step(state, actions):
        after, shown = env.step(state, actions)
        return after, eqx.tree_at(lambda told: told.reward, shown, jnp.stack([shown.reward] * 2, axis=1))

    with pytest.raises(
        ValueError, match=r"`reward` of `step` is float32\[3, 2\]; .* one for the team, such as the mean"
    ):
        check.check_env(dataclasses.replace(env, step=step))
