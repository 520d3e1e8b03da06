"""Environments with the interface of SMAC's `StarCraft2Env`, which PyMARL and EPyMARL call: `pymarl:MODULE.CLASS`.

SMAC, SMACv2, EPyMARL's wrappers, our own `seca.smac.views.pymarl.SmacMultiAgentEnv`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from seca.envs.agents import types_of
from seca.envs.hosted import frames, given
from seca.envs.hosted.single import Frame, Single, Spec

FAMILY = "pymarl:"
WON = "battle_won"
CUT = "episode_limit"
"""The key of `info` that says, when True, that the time limit ended the episode."""
_CONTINUING = "continuing_episode"
"""SMAC's switch to have that key; it changes nothing else (golden/smac_frames: all maps, both ways)."""
_SIZES = ("n_agents", "n_actions", "obs_shape", "state_shape", "episode_limit")


def make(path: str, /, limit: int | None = None, team_reward: str = "mean", wins: Any = None, **options: Any) -> Single:
    """The environment that a class, or a function, returns.

    Args:
        path: `MODULE.CLASS`, as Python imports it.
        limit: env steps of an episode; by default the environment's own `episode_limit`, which is the most.
        team_reward: `mean` or `sum`, where rewards are a list of one for each agent.
        wins: whether `info["battle_won"]` says who won; by default whether `get_stats` counts won battles.
        options: for the class. `seed`, where it takes one and none is given, comes from the run;
            `continuing_episode` is on unless it is given, where it takes that.

    Raises:
        ValueError: there is nothing of that name, it cannot be made with these options, or has not the interface.
    """
    env_id = f"{FAMILY}{path}"
    found = given.imported(env_id, path)
    if not callable(found):
        raise ValueError(f"`env` '{env_id}' is {type(found).__name__}; expected a class: pymarl:MODULE.CLASS")
    return Told(found, env_id, given.version_of(path), limit, team_reward, options, wins)


class Told:
    """One environment of PyMARL's interface. See `seca.envs.hosted.single.Single`.

    `step` returns reward, terminated and info, as in SMAC, or observations, reward, terminated, truncated and info, as
    in EPyMARL. An end is a cut where `info["episode_limit"]` is True, or truncated is. Where nobody asked for that key
    (`continuing_episode` is off, or there is no such switch) an end in the very step of the limit that is no win counts
    as cut, too.

    Luck: where `reset` takes a seed it gets each; where only the class takes one the environment is made anew at the
    first `reset`, with its seed, and the following episodes follow from that one. SMAC's are of that kind.
    """

    def __init__(
        self,
        build: Callable[..., Any],
        env_id: str,
        version: str,
        limit: int | None = None,
        team_reward: str = "mean",
        options: Mapping[str, Any] | None = None,
        wins: Any = None,
        longer_obs: int = 0,
    ) -> None:
        """Makes the environment and asks for its sizes; plays nothing. Raises ValueError: see `make`.

        `longer_obs` is by how much observations are longer than the environment says.
        """
        self._build, self._id, self._team_reward = build, env_id, given.team_reward_of(team_reward)
        self._options = dict(options or {})
        self._seeded = "seed" in self._options or not given.takes(build, "seed")
        if given.takes(build, _CONTINUING):
            self._options.setdefault(_CONTINUING, True)
        self._says_cut = bool(self._options.get(_CONTINUING, False))
        self._env = given.made(env_id, build, self._options | ({} if self._seeded else {"seed": 0}))
        sizes = self._sizes()
        if wins not in (None, True, False):
            raise ValueError(f"`env-options` wins is {wins!r}; choose True or False")
        self.wins = _can_win(self._env) if wins is None else wins
        self.spec = Spec(
            id=env_id,
            version=version,
            n_agents=sizes["n_agents"],
            n_actions=sizes["n_actions"],
            obs_size=sizes["obs_shape"] + longer_obs,
            state_size=sizes["state_shape"],
            episode_limit=given.limit_of(env_id, limit, [sizes["episode_limit"]]),
            options=given.kept(options or {}, limit=limit, team_reward=team_reward, wins=wins),
            agent_types=types_of(given.types_in(env_id, self._env, sizes["n_agents"]) or []),
        )
        self._counts = [self.spec.n_actions] * self.spec.n_agents
        self._own_limit, self._time = sizes["episode_limit"], 0
        self._avail = np.zeros((self.spec.n_agents, self.spec.n_actions), bool)
        self._reset_takes_seed = given.takes(self._env.reset, "seed")
        self._seeded |= self._reset_takes_seed

    @property
    def reseeds(self) -> bool:
        """Whether `reset` hands each episode's seed on; else all follow from the one that the class was made with."""
        return self._reset_takes_seed

    def _sizes(self) -> dict[str, int]:
        for name in ("get_env_info", "reset", "step", "get_obs", "get_state", "get_avail_actions"):
            if not hasattr(self._env, name):
                raise ValueError(f"`env` '{self._id}' is {type(self._env).__name__}, which has no `{name}`")
        info = self._env.get_env_info()
        for name in _SIZES:
            if name not in info:
                raise ValueError(f"`env` '{self._id}' says no {name} in `get_env_info`, only {', '.join(info)}")
        sizes = {name: int(np.prod(info[name])) for name in _SIZES}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"`env` '{self._id}' says that {name} is {size}; it must be at least 1")
        return sizes

    def reset(self, seed: int) -> Frame:
        """The same seed begins the same episode only where `reset` itself takes seeds: see the class."""
        self._time = 0
        if not self._seeded:
            self.close()
            self._env = given.made(self._id, self._build, self._options | {"seed": seed})
            self._seeded = True
        if self._reset_takes_seed:
            self._reset_to(seed)
        else:
            self._env.reset()
        return self._frame("reset")

    def _reset_to(self, seed: int) -> None:
        try:
            self._env.reset(seed=seed)
        except TypeError:
            # EPyMARL's wrapper of SMACv2 hands the seed on to a method that takes none.
            self._env.reset()
            self._reset_takes_seed = False

    def step(self, actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]) -> Frame:
        """What an agent may not do becomes the first that it may: stop, in SMAC, or no-op of the dead.

        Raises:
            RuntimeError: SMAC's way to say that the game was lost and another one was started: an end with an empty
                info, which is no end of a battle.
        """
        sent = frames.allowed(self.spec, self._avail, actions)
        returned = self._env.step([int(action) for action in sent])
        self._time += 1
        where = f"step {self._time}"
        if isinstance(returned, tuple) and len(returned) == 3:
            (reward, terminated, info), truncated = returned, False
        elif isinstance(returned, tuple) and len(returned) == 5:
            _, reward, terminated, truncated, info = returned
        else:
            raise frames.broken(self._id, where, "it returns neither reward, terminated, info nor EPyMARL's five")
        terminated, truncated = bool(np.all(terminated)), bool(np.all(truncated))
        if terminated and self.wins and not info:
            raise RuntimeError(f"the game was lost and started anew in {where}: an end with an empty info")
        each = np.size(reward) if not isinstance(reward, str) else 0
        if each not in (1, self.spec.n_agents):
            raise frames.broken(self._id, where, f"it gives {each} rewards to {self.spec.n_agents} agents")
        won = self.wins and bool(info.get(WON, False))
        cut = self._is_cut(terminated, truncated, won, info)
        return self._frame(
            where,
            reward=frames.team(self._id, where, reward, self._team_reward),
            terminated=terminated and not cut,
            truncated=cut or (not terminated and self._time >= self.spec.episode_limit),
            won=won,
        )

    def _is_cut(self, terminated: bool, truncated: bool, won: bool, info: Mapping[str, Any]) -> bool:
        if not terminated or info.get(CUT, False):
            return truncated or bool(info.get(CUT, False))
        return self._time >= self._own_limit and not won and not self._says_cut

    def _frame(self, where: str, **ends: Any) -> Frame:
        spec, env_id = self.spec, self._id
        seen, said = self._env.get_obs(), self._env.get_avail_actions()
        for what, rows in (("get_obs", seen), ("get_avail_actions", said)):
            if len(rows) != spec.n_agents:
                raise frames.broken(env_id, where, f"`{what}` has {len(rows)} rows for {spec.n_agents} agents")
        rows = [
            frames.vector(env_id, where, f"observation of agent {agent}", row, spec.obs_size)
            for agent, row in enumerate(seen)
        ]
        masks = [frames.mask(env_id, where, str(agent), row, spec.n_actions) for agent, row in enumerate(said)]
        over = bool(ends.get("terminated") or ends.get("truncated"))
        self._avail = frames.availability(spec, self._counts, masks, [False] * spec.n_agents, over)
        state = frames.vector(env_id, where, "the state", self._env.get_state(), spec.state_size)
        return frames.checked(spec, Frame(frames.padded(rows, spec.obs_size), state, self._avail, **ends), where)

    def close(self) -> None:
        """Close the environment, where it can be."""
        if hasattr(self._env, "close"):
            self._env.close()


def _can_win(env: Any) -> bool:
    """Whether it counts won battles. Before the first of them SMAC divides by 0 for its rate."""
    try:
        return "battles_won" in env.get_stats()
    except ZeroDivisionError:
        return True
    except (AttributeError, NotImplementedError, TypeError):
        return False
