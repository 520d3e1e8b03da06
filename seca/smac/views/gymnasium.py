"""The simulator as a Gymnasium environment: one battle, all agents acting at once."""

from typing import Any

import numpy as np

from seca.smac.views.battle import Frame, SingleBattle

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as missing:
    raise ImportError("the Gymnasium view needs gymnasium: pip install 'seca[gymnasium]'") from missing


NAME = "seca/Smac-v1"
"""What Gymnasium calls it."""


class SmacEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Battles on one map: observations float32 `[agents, obs]`, actions int `[agents]`, one team reward.

    `info` holds `avail_actions` (int8 `[agents, actions]`: `action_space.sample(mask=tuple(avail_actions))` draws legal
    ones), `state` (float32 `[state]`), `battle_won`, `dead_allies` and `dead_enemies`. An unavailable action is taken
    as stop, by the dead as no-op. At the time limit `truncated` is True and `terminated` False.

    Registered as `seca/Smac-v1` once this module is imported, which `gymnasium.make` does if told to, in any process:
    `gymnasium.make("seca.smac.views.gymnasium:seca/Smac-v1", map_name="3m")`.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        render_mode: only None.
        options: fields of `seca.smac.scenario.Options` by name.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """

    metadata = {"render_modes": []}

    def __init__(self, map_name: str, render_mode: str | None = None, **options: Any) -> None:
        if render_mode is not None:
            raise ValueError(f"`render_mode` must be None, got {render_mode!r}")
        self._battle = SingleBattle(map_name, options)
        field = self._battle.field
        self.observation_space = spaces.Box(-1.0, 1.0, (field.n_agents, self._battle.obs_size), np.float32)
        self.action_space = spaces.MultiDiscrete([field.n_actions] * field.n_agents)
        self.agent_types = list(field.unit_names[: field.n_agents])
        """Of each agent the name of its unit."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a battle: with a seed the first of its sequence, without one the next."""
        super().reset(seed=seed)  # Gymnasium's own generator, which users may draw from.
        del options  # None are defined.
        frame = self._battle.reset(seed)
        return frame.obs, _info(frame)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One env step of all agents.

        Raises:
            ValueError: not one action per agent, no such action, or no battle has been started.
        """
        frame = self._battle.step(action)
        return frame.obs, frame.reward, frame.terminated, frame.truncated, _info(frame)


def _info(frame: Frame) -> dict[str, Any]:
    return frame.info() | {"avail_actions": frame.avail.astype(np.int8), "state": frame.state}


if NAME not in gymnasium.registry:  # Importing twice is no overriding.
    gymnasium.register(NAME, entry_point=f"{__name__}:SmacEnv")
