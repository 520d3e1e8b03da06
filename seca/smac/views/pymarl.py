"""The simulator under SMAC's own method names, which PyMARL and EPyMARL call. Needs no extra."""

from typing import Any

import numpy as np

from seca.smac.views.battle import Frame, SingleBattle, agent_names, whole_numbers

OF_THE_GAME: dict[str, Any] = {
    "difficulty": "7",
    "step_mul": 8,
    "move_amount": 2,
    "game_version": None,
    "replay_dir": "",
    "replay_prefix": "",
    "heuristic_ai": False,
    "heuristic_rest": False,
    "debug": False,
}
"""Arguments of `StarCraft2Env` that PyMARL's configuration gives, with the one value this simulator has for each."""


class SmacMultiAgentEnv:
    """Battles on one map with the interface of SMAC's `StarCraft2Env`.

    As there `terminated` is True at the time limit too, and `info` has the key `episode_limit` only when that happened
    and `continuing_episode` is on: learners that look for it bootstrap there, others do not.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        seed: of the sequence of battles; None: a random one.
        continuing_episode: report the time limit in `info`.
        options: fields of `seca.smac.scenario.Options` by name; what PyMARL's configuration says of the game itself is
            taken too, where it says what this simulator does.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """

    def __init__(
        self, map_name: str, seed: int | None = None, continuing_episode: bool = False, **options: Any
    ) -> None:
        for name, only in OF_THE_GAME.items():
            if options.get(name, only) != only:
                raise ValueError(f"`{name}` can only be {only!r} in this simulator, got {options[name]!r}")
        rest = {name: value for name, value in options.items() if name not in OF_THE_GAME}
        self._battle = SingleBattle(map_name, rest)
        self._seed = seed
        self._continuing = continuing_episode
        self._wins = self._games = self._timeouts = 0
        self.n_agents = self._battle.field.n_agents
        self.n_actions = self._battle.field.n_actions
        self.episode_limit = self._battle.field.limit
        self.agent_types = list(self._battle.field.unit_names[: self.n_agents])
        """Of each agent the name of its unit, which SMAC does not tell."""

    def reset(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Start the next battle; returns the observations and the state."""
        self._battle.reset(self._seed if self._battle.frame is None else None)
        return self.get_obs(), self.get_state()

    def step(self, actions: Any) -> tuple[float, bool, dict[str, Any]]:
        """One env step: `(reward, terminated, info)`. Stepping a finished battle changes nothing.

        Raises:
            ValueError: not one action per agent, one that is not available, or no battle has been started.
        """
        taken = whole_numbers(actions, agent_names(self.n_agents), self.n_actions)
        before = self._frame()
        for agent, (action, avail) in enumerate(zip(taken, before.avail, strict=True)):
            if not (0 <= action < self.n_actions and avail[action]) and not before.done:
                raise ValueError(
                    f"`actions` of agent {agent} must be among {np.flatnonzero(avail).tolist()}, got {action}"
                )
        frame = self._battle.step(taken)
        info = frame.info()
        if frame.truncated and self._continuing:
            info["episode_limit"] = True
        if frame.done and not before.done:
            self._games += 1
            self._wins += frame.won
            self._timeouts += frame.truncated
        return frame.reward, frame.done, info

    def get_obs(self) -> list[np.ndarray]:
        """Observations of all agents, float32 `[obs]` each."""
        return list(self._frame().obs.copy())

    def get_obs_agent(self, agent_id: int) -> np.ndarray:
        return self._frame().obs[agent_id].copy()

    def get_obs_size(self) -> int:
        """Length of what `get_obs_agent` returns.

        With `obs_timestep_number` this is one more than SMAC says: SMAC counts the number among an agent's own
        features, leaves that place 0 and appends the number, so that its vector is longer than its size. Whoever builds
        a network from the size needs the length.
        """
        return self._battle.obs_size

    def get_state(self) -> np.ndarray:
        """The global state, float32 `[state]`."""
        return self._frame().state.copy()

    def get_state_size(self) -> int:
        return self._battle.state_size

    def get_avail_actions(self) -> list[list[int]]:
        """For each agent 1 where an action is available, 0 elsewhere."""
        return self._frame().avail.astype(int).tolist()

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        return self._frame().avail[agent_id].astype(int).tolist()

    def get_visibility_matrix(self) -> np.ndarray:
        """Which agent sees which unit, bool `[agents, agents + enemies]`: both alive, nearer than 9, not itself."""
        self._frame()
        return self._battle.visibility()

    def get_total_actions(self) -> int:
        return self.n_actions

    def get_env_info(self) -> dict[str, int]:
        """The sizes learners build their networks from."""
        return {
            "state_shape": self._battle.state_size,
            "obs_shape": self._battle.obs_size,
            "n_actions": self.n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def get_stats(self) -> dict[str, int | float]:
        """Battles so far. As in SMAC a timeout also counts as a draw."""
        return {
            "battles_won": self._wins,
            "battles_game": self._games,
            "battles_draw": self._timeouts,
            "win_rate": self._wins / self._games if self._games else 0.0,
            "timeouts": self._timeouts,
            "restarts": 0,
        }

    def seed(self) -> int | None:
        """The seed given at construction."""
        return self._seed

    def render(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing has to be closed."""

    def save_replay(self) -> None:
        """Nothing is saved: `seca watch` records battles."""

    def _frame(self) -> Frame:
        if self._battle.frame is None:
            raise ValueError("there is no battle yet; call `reset` first")
        return self._battle.frame
