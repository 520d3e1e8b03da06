"""Environments with PettingZoo's parallel interface: `pettingzoo:MODULE.FUNCTION`.

A dict for each agent (Terry et al. 2021), of whom some may leave before the end. Here they are a team of one size:
who has left is dead.
"""

import importlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from seca.envs.agents import kind_of, types_of
from seca.envs.hosted import frames, given, spaces
from seca.envs.hosted.single import Broken, Frame, Single, Spec
from seca.errors import told

FAMILY = "pettingzoo:"
WON = "battle_won"
"""Where somebody can win, SMAC's word for it in `info`, from `reset` on."""
_FUNCTION = "parallel_env"


def make(path: str, /, limit: int | None = None, team_reward: str = "mean", **options: Any) -> Single:
    """The environment that a function, or a module's `parallel_env`, returns.

    Args:
        path: `MODULE.FUNCTION` or `MODULE`, as Python imports it.
        limit: env steps of an episode; by default what the environment says under one of `given.LIMITS`.
        team_reward: `mean` or `sum` over the rewards of agents in the game; the mean of one all share is that reward.
        options: for the function.

    Raises:
        ValueError: PettingZoo is missing, there is nothing of that name, it cannot be made with these options, or is
            not served.
        Broken: what its `reset` shows does not fit its spaces.
    """
    env_id = f"{FAMILY}{path}"
    _library()
    found = given.imported(env_id, path)
    if isinstance(found, types.ModuleType):
        if not hasattr(found, _FUNCTION):
            raise ValueError(f"`env` '{env_id}' is a module without {_FUNCTION}: write pettingzoo:MODULE.FUNCTION")
        found = getattr(found, _FUNCTION)
    if not callable(found):
        raise ValueError(f"`env` '{env_id}' is {type(found).__name__}; expected a function that returns an environment")
    env = given.made(env_id, found, options)
    return Parallel(env, env_id, given.version_of(path), limit, team_reward, options)


def _library() -> Any:
    try:
        return importlib.import_module("pettingzoo")
    except ImportError as missing:
        raise ValueError(f"`env` {FAMILY}... needs pettingzoo: pip install 'seca[pettingzoo]' ({missing})") from None


class Parallel:
    """One environment of PettingZoo's parallel interface. See `seca.envs.hosted.single.Single`.

    An episode is over when nobody is left, or everybody who is left is flagged. It was cut if anyone was who had not
    ended by the rules in that very step; else it terminated. In the last frame those who were in the game until then
    are still seen, unless the episode was cut and they had ended.
    """

    def __init__(
        self,
        env: Any,
        env_id: str,
        version: str,
        limit: int | None = None,
        team_reward: str = "mean",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Resets the environment once, to see what it shows. Raises ValueError and Broken: see `make`."""
        self._env, self._id, self._team_reward = env, env_id, given.team_reward_of(team_reward)
        for name in ("possible_agents", "reset", "step", "observation_space", "action_space"):
            if not hasattr(env, name):
                why = "; an AEC environment needs pettingzoo.utils.aec_to_parallel" if hasattr(env, "last") else ""
                raise ValueError(f"`env` '{env_id}' is {type(env).__name__}, which has no `{name}`{why}")
        self._names = list(env.possible_agents)
        if not self._names:
            raise ValueError(f"`env` '{env_id}' has no possible_agents: a team of a fixed size is needed")
        self._seen = {name: spaces.seen(env_id, name, env.observation_space(name)) for name in self._names}
        self._spaces = {name: env.action_space(name) for name in self._names}
        self._counts, box = spaces.counts_of(env_id, list(self._spaces.values()))
        obs_size = max(how.size for how in self._seen.values())
        self._live: set[str] = set()
        self.watch: spaces.Watcher | None = None
        """Who is told of observations as they come; nobody, in training."""
        state, infos = self._probed()
        self.wins = any(WON in info for info in infos.values() if isinstance(info, Mapping))
        self._has_state = state is not None
        types_said = given.types_in(env_id, env, len(self._names)) or [kind_of(str(name)) for name in self._names]
        chosen = {"limit": limit, "team_reward": team_reward}
        self.spec = Spec(
            id=env_id,
            version=version,
            n_agents=len(self._names),
            n_actions=max(self._counts),
            obs_size=obs_size,
            state_size=obs_size * len(self._names) if state is None else int(np.size(state)),
            episode_limit=given.limit_of(env_id, limit, given.limits_in(env)),
            options=given.kept(options or {}, **chosen),
            ally_features=obs_size if state is None else 0,
            box=box,
            agent_types=types_of(
                [
                    (called, self._seen[name].size, count)
                    for called, name, count in zip(types_said, self._names, self._counts, strict=True)
                ]
            ),
        )
        self._time, self._avail = 0, np.zeros((len(self._names), self.spec.n_actions), bool)

    def _probed(self) -> tuple[Any, Mapping[str, Any]]:
        """The state, if there is one, and the infos, of a first episode that is not played."""
        try:
            _, infos = self._reset(0)
            try:
                return self._env.state(), infos
            except (NotImplementedError, AttributeError):
                return None, infos
        except Broken:
            raise
        except (Exception, SystemExit) as error:
            raise ValueError(f"`env` '{self._id}' cannot be reset: {told(error)}") from None

    def _reset(self, seed: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        shown = self._env.reset(seed=seed)
        if not isinstance(shown, tuple) or len(shown) != 2:
            raise frames.broken(self._id, "reset", "it returns no pair of observations and infos, as since 1.23")
        return shown

    def reset(self, seed: int) -> Frame:
        """The same seed begins the same episode, if the environment has it so."""
        obs, infos = self._reset(seed)
        self._time, self._live = 0, self._left("reset")
        if not self._live:
            raise frames.broken(self._id, "reset", "nobody is in `agents`")
        return self._frame("reset", obs, infos, gone=[name not in self._live for name in self._names])

    def step(self, actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]) -> Frame:
        """Of agents that have left nothing is sent; what an agent may not do becomes the first that it may."""
        sent = frames.allowed(self.spec, self._avail, actions)
        in_game = {
            name: spaces.own(self._spaces[name], sent[agent])
            for agent, name in enumerate(self._names)
            if name in self._live
        }
        returned = self._env.step(in_game)
        self._time += 1
        where = f"step {self._time}"
        if not isinstance(returned, tuple) or len(returned) != 5:
            raise frames.broken(
                self._id, where, "it returns no five dicts: obs, rewards, terminations, truncations, infos"
            )
        obs, rewards, terminations, truncations, infos = returned
        before, self._live = self._live, self._left(where)
        ended = {name for name in before if terminations.get(name, False) or truncations.get(name, False)}
        cut = {name for name in before if truncations.get(name, False) and not terminations.get(name, False)}
        over = self._live <= ended
        if over and not ended:
            raise frames.broken(self._id, where, "nobody is left, and neither terminations nor truncations says why")
        return self._frame(
            where,
            obs,
            infos,
            gone=[name not in ((cut if cut else before) if over else self._live) for name in self._names],
            reward=frames.team(self._id, where, self._earned(where, before, rewards), self._team_reward),
            terminated=over and not cut,
            truncated=bool(over and cut) or (not over and self._time >= self.spec.episode_limit),
            over=over,
        )

    def _left(self, where: str) -> set[str]:
        """Who is in the game now."""
        live = set(self._env.agents)
        if strangers := live - set(self._names):
            raise frames.broken(self._id, where, f"agent {min(map(str, strangers))} is not in possible_agents")
        return live

    def _earned(self, where: str, before: set[str], rewards: Mapping[str, Any]) -> list[Any]:
        """Rewards of those who acted; of one who has just left none need be told."""
        for name in self._names:
            if name in before and name in self._live and name not in rewards:
                raise frames.broken(self._id, where, f"there is no reward of agent {name}")
        return [rewards[name] for name in self._names if name in before and name in rewards]

    def _frame(
        self,
        where: str,
        obs: Mapping[str, Any],
        infos: Mapping[str, Any],
        gone: list[bool],
        over: bool = False,
        **ends: Any,
    ) -> Frame:
        rows, masks = [], []
        for agent, (name, count) in enumerate(zip(self._names, self._counts, strict=True)):
            if not gone[agent] and name not in obs and not over:
                raise frames.broken(self._id, where, f"there is no observation of agent {name}, who is in `agents`")
            gone[agent] |= name not in obs
            how, value = self._seen[name], None if gone[agent] else obs[name]
            if self.watch is not None and not gone[agent]:
                self.watch(where, str(name), how, value)
            rows.append(np.zeros(how.size) if gone[agent] else spaces.numbers(self._id, where, name, how, value))
            asked = gone[agent] or self.spec.box is not None
            masks.append(None if asked else spaces.mask_in(self._id, where, name, count, value, infos.get(name)))
        seen = frames.padded(rows, self.spec.obs_size)
        state = self._env.state() if self._has_state else seen
        self._avail = self._availability(masks, gone, over)
        won = any(bool(info[WON]) for info in infos.values() if isinstance(info, Mapping) and WON in info)
        flat = frames.vector(self._id, where, "the state", state, self.spec.state_size)
        frame = Frame(seen, flat, self._avail, won=self.wins and won, **ends)
        return frames.checked(self.spec, frame, where, [str(name) for name in self._names])

    def _availability(
        self, masks: list[Bool[np.ndarray, " _"] | None], gone: list[bool], over: bool
    ) -> Bool[np.ndarray, "agents actions"]:
        return frames.availability(self.spec, self._counts, masks, gone, over)

    def close(self) -> None:
        """Close the environment, where it can be."""
        if hasattr(self._env, "close"):
            self._env.close()
