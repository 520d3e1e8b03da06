"""The simulator as a PettingZoo parallel environment."""

from typing import Any

import numpy as np

from seca.smac.views.battle import Frame, SingleBattle

try:
    from gymnasium import spaces
    from pettingzoo import ParallelEnv
except ImportError as missing:
    raise ImportError("the PettingZoo view needs pettingzoo: pip install 'seca[pettingzoo]'") from missing

Observation = dict[str, np.ndarray]


class SmacParallelEnv(ParallelEnv[str, Any, Any]):
    """Battles on one map for agents `agent_0`, `agent_1`, ...

    An observation is `{"observation": float32 [obs], "action_mask": int8 [actions]}`; the mask fits
    `action_space(agent).sample(mask)`. All agents get the team's reward. As in SMAC a dead agent stays until the battle
    ends, with zeros to see and no-op to do, so that learners see a team of one size; then all leave at once. An action
    outside the mask is taken as stop.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        options: fields of `seca.smac.scenario.Options` by name.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """

    render_mode = None

    def __init__(self, map_name: str, **options: Any) -> None:
        self._battle = SingleBattle(map_name, options)
        field = self._battle.field
        self.metadata = {"name": f"smac_{map_name}", "render_modes": [], "is_parallelizable": True}
        self.possible_agents = [f"agent_{i}" for i in range(field.n_agents)]
        self.agents: list[str] = []
        self.agent_types = list(field.unit_names[: field.n_agents])
        """Of each agent the name of its unit."""
        self.observation_spaces: dict[str, spaces.Space[Any]] = {
            agent: spaces.Dict(
                {
                    "observation": spaces.Box(-1.0, 1.0, (self._battle.obs_size,), np.float32),
                    "action_mask": spaces.Box(0, 1, (field.n_actions,), np.int8),
                }
            )
            for agent in self.possible_agents
        }
        self.action_spaces: dict[str, spaces.Space[Any]] = {
            agent: spaces.Discrete(field.n_actions) for agent in self.possible_agents
        }
        bound = self._battle.state_bound
        self.state_space = spaces.Box(-bound, bound, (self._battle.state_size,), np.float32)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Start a battle: with a seed the first of its sequence, without one the next."""
        del options  # None are defined.
        frame = self._battle.reset(seed)
        self.agents = list(self.possible_agents)
        return self._observations(frame), self._infos(frame)

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One env step of all agents; after the end of the battle there is nobody left to act, and nothing happens.

        Raises:
            ValueError: an agent without an action, no such action, or no battle has been started.
        """
        if self._battle.frame is not None and not self.agents:
            return {}, {}, {}, {}, {}
        absent = [agent for agent in self.agents if agent not in actions]
        if absent:
            raise ValueError(f"`actions` must name every agent; {', '.join(absent)} missing")
        frame = self._battle.step([actions[agent] for agent in self.agents], self.agents)
        present = self.agents
        if frame.done:
            self.agents = []
        return (
            self._observations(frame),
            dict.fromkeys(present, frame.reward),
            dict.fromkeys(present, frame.terminated),
            dict.fromkeys(present, frame.truncated),
            self._infos(frame),
        )

    def state(self) -> np.ndarray:
        """The global state, float32 `[state]`.

        Raises:
            ValueError: no battle has been started.
        """
        if self._battle.frame is None:
            raise ValueError("`state` needs a battle; call `reset` first")
        return self._battle.frame.state.copy()

    def render(self) -> None:
        """Nothing is drawn: `render_mode` is None."""

    def _observations(self, frame: Frame) -> dict[str, Observation]:
        pairs = zip(self.possible_agents, frame.obs, frame.avail.astype(np.int8), strict=True)
        return {agent: {"observation": obs, "action_mask": mask} for agent, obs, mask in pairs}

    def _infos(self, frame: Frame) -> dict[str, dict[str, Any]]:
        return {agent: frame.info() for agent in self.possible_agents}
