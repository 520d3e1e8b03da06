"""What a drawing must say, and that the toys' says where everything is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import registry
from seca.envs.drawing import Drawing


def made(**changes: Any) -> Drawing:
    area = (0.0, 0.0, 2.0, 1.0)
    given: dict[str, Any] = {"names": ("a", "b"), "kinds": ("agent", "mark"), "radius": (1.0, 0.5), "area": area}
    return Drawing(discs=lambda state: state, **given | changes)


def test_what_makes_no_sense_is_refused() -> None:
    assert made().seconds == 0.1
    for changes, said in (
        ({"radius": (1.0,)}, "an entry for each disc"),
        ({"area": (0.0, 0.0, 0.0, 1.0)}, "must enclose something"),
        ({"area": (0.0, 1.0, 2.0, 1.0)}, "must enclose something"),
        ({"kinds": ("mark", "agent")}, "begin with the agents"),
        ({"kinds": ("mark", "mark")}, "begin with the agents"),
    ):
        with pytest.raises(ValueError, match=said):
            made(**changes)


@pytest.mark.parametrize("name", ["cooperative-navigation", "predator-prey"])
def test_toys_are_where_they_are(name: str) -> None:
    env = registry.make(f"mpe/{name}")
    drawing = env.drawing
    assert drawing is not None and drawing.lines is not None and drawing.kinds.count("agent") == env.spec.n_agents
    world, shown = env.reset(jax.random.split(jax.random.key(0), 2))
    for _ in range(3):
        world, shown = env.step(world, jnp.full((2, 3), 1, jnp.int32))
    places, lines = drawing.discs(world), drawing.lines(world)
    assert places.shape == (2, len(drawing.names), 2)
    own = shown.obs[:, :, :4]  # Velocity, then position.
    np.testing.assert_allclose(places[:, :3], own[..., 2:], atol=1e-6)
    np.testing.assert_allclose(lines[:, :3, 0], own[..., 2:], atol=1e-6)
    np.testing.assert_allclose(lines[:, :3, 1], own[..., 2:] + 0.5 * own[..., :2], atol=1e-6)
    # Agent 0 sees the marks from where it stands.
    marks = drawing.kinds.count("mark")
    seen = shown.obs[:, 0, 4 : 4 + 2 * marks].reshape(2, marks, 2) + own[:, :1, 2:]
    np.testing.assert_allclose(places[:, -marks:], seen, atol=1e-5)
