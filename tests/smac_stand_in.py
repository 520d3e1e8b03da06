"""A package `smac` and a game's folder that are neither: they speak the interface of SMAC, and know its failures."""

import pathlib

PACKAGE = '''
"""SMAC's interface, with a battle of nothing: two agents, four actions, five steps."""
import time
import numpy as np


class StarCraft2Env:
    """`fails`: `websocket`, `hang` (in reset), `crash` or `lost` (in the second step)."""

    def __init__(self, map_name="8m", seed=None, continuing_episode=False, game_version=None,
                 obs_timestep_number=False, obs_instead_of_state=False, fails=""):
        self.map_name, self._seed, self.game_version, self.fails = map_name, seed, game_version, fails
        self.continuing_episode, self.extra = continuing_episode, int(obs_timestep_number)
        self.n_agents, self.n_actions, self.episode_limit = 2, 4, 5
        self.battles_won = self.battles_game = self.launched = 0
        self.closed = False

    def get_env_info(self):
        return {"state_shape": 3, "obs_shape": 2, "n_actions": 4, "n_agents": 2, "episode_limit": 5}

    def reset(self):
        if self.fails == "websocket":
            raise ConnectionError("Failed to connect to the SC2 websocket. Is it up?")
        while self.fails == "hang":
            time.sleep(1)
        self.launched += 1
        self.steps = 0
        return self.get_obs(), self.get_state()

    def step(self, actions):
        for agent, action in enumerate(actions):
            assert self.get_avail_actions()[agent][action], f"Agent {agent} cannot perform action {action}"
        self.steps += 1
        if self.steps == 2 and self.fails == "crash":
            raise BrokenPipeError("the game is gone")
        if self.steps == 2 and self.fails == "lost":
            return 0, True, {}
        won, info = actions[0] == 3, {"battle_won": bool(actions[0] == 3), "dead_allies": 0, "dead_enemies": 0}
        self.battles_game += won
        self.battles_won += won
        if self.steps >= 5 and not won:
            if self.continuing_episode:
                info["episode_limit"] = True
            return 0.5, True, info
        return 0.5 + 20 * won, won, info

    def get_obs(self):
        return [np.array([agent, self.steps] + [self.steps / 5] * self.extra, np.float32) for agent in range(2)]

    def get_state(self):
        return np.array([self.steps, self._seed or 0, 1], np.float32)

    def get_avail_actions(self):
        return [[0, 1, 1, 1], [1, 0, 0, 0]]

    def get_stats(self):
        return {"battles_won": self.battles_won, "win_rate": self.battles_won / self.battles_game}

    def seed(self):
        return self._seed

    def close(self):
        self.closed = True
'''


def write_package(folder: pathlib.Path) -> pathlib.Path:
    """The package, in a folder that is to be put on the path."""
    inside = folder / "smac" / "env"
    inside.mkdir(parents=True)
    (folder / "smac" / "__init__.py").touch()
    (inside / "__init__.py").write_text(PACKAGE)
    return folder


def write_game(folder: pathlib.Path, bases: tuple[int, ...] = (69232, 75689), maps: tuple[str, ...] = ("3m",)) -> None:
    """A game's folder, for SC2PATH: programs that do nothing, and empty maps."""
    for base in bases:
        program = folder / "Versions" / f"Base{base}" / "SC2_x64"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    for name in maps:
        path = folder / "Maps" / "SMAC_Maps" / f"{name}.SC2Map"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
