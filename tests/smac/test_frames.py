"""The interface against frames of SMAC's own code: golden/smac_frames (see its README)."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.smac import actions, observe, reward, scenario
from seca.smac.state import Units

MAPS = [
    pytest.param(name, marks=[pytest.mark.slow] * (scenario.load(name).n_units > 20)) for name in scenario.map_names()
]


def load(golden_dir: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    with np.load(golden_dir / "smac_frames" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def lanes(frames: dict[str, np.ndarray], name: str) -> jax.Array:
    """`[units, episodes * frames]` of one quantity."""
    both = [np.moveaxis(frames[f"{team}_{name}"], -1, 0) for team in ("ally", "enemy")]
    return jnp.asarray(np.concatenate([x.reshape(x.shape[0], -1) for x in both]), jnp.float32)


def units_of(frames: dict[str, np.ndarray]) -> Units:
    return Units(
        x=lanes(frames, "x"),
        y=lanes(frames, "y"),
        health=lanes(frames, "health"),
        shield=lanes(frames, "shield"),
        cooldown=lanes(frames, "cooldown_loops"),
        energy=lanes(frames, "energy"),
    )


def last_actions(frames: dict[str, np.ndarray]) -> jax.Array:
    """Actions of the step that led to each frame, -1 at the first."""
    acted = np.roll(frames["actions"].astype(np.int32), 1, axis=1)
    acted[:, 0] = -1
    return jnp.asarray(acted.reshape(-1, acted.shape[-1]).T)


def field_of(frames: dict[str, np.ndarray], height: np.ndarray | None = None) -> scenario.Scenario:
    """The shipped scenario on the frames' own terrain."""
    shipped = scenario.load(str(frames["map_name"]))
    height = shipped.height if height is None else height.astype(np.float32)
    return dataclasses.replace(shipped, walkable=frames["pathing_grid"], height=height)


def shown(
    frames: dict[str, np.ndarray],
    options: scenario.Options,
    height: np.ndarray | None = None,
    wanted: tuple[str, ...] = ("avail", "visibility", "obs", "state"),
) -> dict:
    """What the interface makes of the frames, with axes `[episodes, frames, ...]`."""
    field, units, past = field_of(frames, height), units_of(frames), last_actions(frames)
    steps = jnp.asarray(frames["episode_steps"].reshape(-1))

    @jax.jit
    def show(units, past, steps):
        avail = actions.available(field, units)
        everything = {
            "avail": jnp.transpose(avail, (2, 0, 1)),
            "visibility": observe.visibility(field, units),
            "obs": observe.observe(field, options, units, avail, past, steps),
            "state": observe.observe_state(field, options, units, past, steps),
        }
        return {key: everything[key] for key in wanted}

    lead = frames["frame_valid"].shape
    return {k: np.asarray(v).reshape(*lead, *v.shape[1:]) for k, v in show(units, past, steps).items()}


def rewards(frames: dict[str, np.ndarray], options: scenario.Options) -> tuple[np.ndarray, reward.Outcome, np.ndarray]:
    """Rewards, outcomes and dead counts of the steps from each frame to the next (padding included)."""
    field, units = field_of(frames), units_of(frames)
    lead = frames["frame_valid"].shape

    @jax.jit
    def judge(units):
        after = jax.tree.map(lambda x: jnp.roll(x.reshape(-1, *lead), -1, axis=2).reshape(x.shape), units)
        outcome = reward.outcome(field, after)
        return reward.reward(field, options, units, after, outcome), outcome, ~after.alive

    gain, outcome, dead = judge(units)
    reshape = lambda x: np.asarray(x).reshape(lead)  # noqa: E731
    dead = np.asarray(dead)
    counts = np.stack([reshape(dead[: field.n_agents].sum(0)), reshape(dead[field.n_agents :].sum(0))])
    return reshape(gain), jax.tree.map(reshape, outcome), counts


@pytest.mark.parametrize("name", MAPS)
def test_frames_of_smac(golden_dir, name):
    """Availability, visibility, ends and counts are equal; observations and states to 1e-6, rewards to 1e-5."""
    frames = load(golden_dir, name)
    frame, step = frames["frame_valid"], frames["step_valid"]
    seen = shown(frames, scenario.Options())
    assert seen["obs"].shape == frames["obs"].shape and seen["state"].shape == frames["state"].shape
    for key in ("avail", "visibility"):
        np.testing.assert_array_equal(seen[key][frame], frames[key][frame], err_msg=key)
    for key in ("obs", "state"):
        np.testing.assert_allclose(seen[key][frame], frames[key][frame], rtol=0, atol=1e-6, err_msg=key)

    gain, outcome, dead = rewards(frames, scenario.Options())
    np.testing.assert_allclose(gain[step], frames["reward"][step], rtol=0, atol=1e-5)
    limit = frames["episode_steps"] + 1 >= frames["limit"]
    np.testing.assert_array_equal((outcome.over | limit)[step], frames["terminated"][step])
    # What SMAC reports where episodes continue is what `tick` calls truncated.
    np.testing.assert_array_equal((limit & ~outcome.over)[step], frames["info_episode_limit_continuing"][step])
    np.testing.assert_array_equal(outcome.won[step], frames["battle_won"][step])
    np.testing.assert_array_equal(dead[0][step], frames["dead_allies"][step])
    np.testing.assert_array_equal(dead[1][step], frames["dead_enemies"][step])


@pytest.mark.parametrize("name", MAPS)
def test_data_against_the_frames(golden_dir, name):
    """Counts, names, maxima, one-hots, limits are those SMAC used."""
    frames, field = load(golden_dir, name), scenario.load(name)
    for key in ("n_agents", "n_enemies", "n_actions", "limit"):
        assert getattr(field, key) == frames[key]
    assert field.unit_names == (*frames["ally_unit"], *frames["enemy_unit"])
    for key in ("health_max", "shield_max"):
        both = np.concatenate([frames[f"ally_{key}"], frames[f"enemy_{key}"]])
        np.testing.assert_array_equal(getattr(field, key)[:, 0], both)
    np.testing.assert_array_equal(field.max_cooldown[:, 0], frames["ally_max_cooldown"])
    bits = np.concatenate([frames["ally_type_bit"], frames["enemy_type_bit"]])
    np.testing.assert_array_equal(np.where(bits >= 0, 1, 0), field.type_bits.sum(axis=1))
    assert all(field.type_bits[i, bit] == 1 for i, bit in enumerate(bits) if bit >= 0)
    assert field.ally_has_shield == bool(frames["shield_bits_ally"])
    assert field.enemy_has_shield == bool(frames["shield_bits_enemy"])
    assert field.largest_return(scenario.Options()) == frames["max_reward"]
    # The frames have no border; ours is the live one of oxwhirl/smac issue 11, with two rows more on `simple`.
    expected = np.zeros((scenario.MAP_SIZE, scenario.MAP_SIZE), bool)
    expected[2:30, 2:30] = frames["pathing_grid"][2:30, 2:30]
    if field.terrain == "simple":
        expected[2:30, 7] = expected[2:30, 24] = True
    np.testing.assert_array_equal(field.walkable, expected)


@pytest.mark.parametrize("name", MAPS)
def test_order_of_agents(golden_dir, name):
    """SMAC's ids follow from (type, x, y) with our order of types; and so do the agents' places at our own start."""
    frames, field = load(golden_dir, name), scenario.load(name)
    types = scenario.read_data("maps")["maps"][name]["types"]
    kinds = [types.index(unit) for unit in field.unit_names[: field.n_agents]]
    for episode, raw in enumerate(frames["reset_ally_raw_order"]):
        x, y = frames["ally_x"][episode, 0], frames["ally_y"][episode, 0]
        listed = sorted(raw.tolist(), key=lambda unit: (kinds[unit], x[unit], y[unit]))
        assert listed == list(range(field.n_agents)) == sorted(raw)
    ours = list(zip(kinds, field.spawn_x[:, 0], field.spawn_y[:, 0], strict=False))
    assert ours == sorted(ours)


VARIANTS = ("2s3z", "MMM", "6h_vs_8z", "corridor")
"""Maps of all three races, and one whose terrain has no symmetry."""


def variants(golden_dir: pathlib.Path, name: str, kind: str):
    """Name, options and expected arrays of a map's flag variants."""
    data = load(golden_dir, f"variants/{name}_{kind}")
    for variant, flags in zip(data["variants"], data["flags"], strict=True):
        yield variant, json.loads(str(flags)), data


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["obs", "state"])
@pytest.mark.parametrize("name", cases(VARIANTS, "2s3z"))
def test_flags_of_the_interface(golden_dir, name, kind):
    frames = load(golden_dir, name)
    for variant, flags, data in variants(golden_dir, name, kind):
        seen = shown(frames, scenario.read_options(flags), data.get("terrain_height"), (kind,))[kind][data["episodes"]]
        frame, expected = frames["frame_valid"][data["episodes"]], data[f"{kind}__{variant}"]
        assert seen.shape == expected.shape, variant
        np.testing.assert_allclose(seen[frame], expected[frame], rtol=0, atol=1e-6, err_msg=variant)


@pytest.mark.parametrize("name", VARIANTS)
def test_flags_of_the_reward(golden_dir, name):
    frames = load(golden_dir, name)
    step = frames["step_valid"]
    for (variant, flags, data), largest in zip(
        variants(golden_dir, name, "reward"), load(golden_dir, f"variants/{name}_reward")["max_reward"], strict=True
    ):
        options = scenario.read_options(flags)
        gain = rewards(frames, options)[0][data["episodes"]]
        expected = data[f"reward__{variant}"]
        scale = 1.0 if options.reward_scale else float(largest) / 20  # Unscaled rewards reach 500 in float32.
        np.testing.assert_allclose(
            gain[step[data["episodes"]]], expected[step[data["episodes"]]], rtol=0, atol=1e-5 * scale, err_msg=variant
        )
        if options.reward_scale:
            assert scenario.load(name).largest_return(options) == largest


def test_regeneration_can_pay_nothing(golden_dir):
    """With `reward_abs` off, the steps SMAC pays for by the absolute value pay 0, and no others change."""
    frames = load(golden_dir, "2s3z")
    step = frames["step_valid"]
    signed = rewards(frames, scenario.Options(reward_only_positive=False, reward_negative_scale=0.0))[0][step]
    smac, fixed = (rewards(frames, scenario.Options(reward_abs=flag))[0][step] for flag in (True, False))
    assert (signed < 0).any()
    np.testing.assert_allclose(fixed, np.where(signed < 0, 0, smac), atol=1e-6)
