"""Environments with Gymnasium's interface and a joint action: `gymnasium:ID`, or `gymnasium:PACKAGE:ID`.

RWARE, level-based foraging, SMAClite and others: one call for the whole team, with a tuple of spaces, one for each
agent. Environments of a single agent are teams of one.
"""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from seca.envs.agents import types_of
from seca.envs.hosted import frames, given, spaces
from seca.envs.hosted.single import Broken, Frame, Single, Spec
from seca.errors import told

FAMILY = "gymnasium:"
WON = "battle_won"
"""Where somebody can win, SMAC's word for it in `info`, from `reset` on."""
STATE = "state"
"""The global state in `info`, where an environment tells one."""


def make(
    id: str, /, limit: int | None = None, team_reward: str = "mean", n_agents: int | None = None, **options: Any
) -> Single:
    """The environment that Gymnasium has under that ID.

    Args:
        id: as registered; `PACKAGE:ID` imports the package that registers it first.
        limit: env steps of an episode; by default Gymnasium's `max_episode_steps`, or what the environment says under
            one of `given.LIMITS`.
        team_reward: `mean` or `sum`, where it gives a reward to each agent.
        n_agents: among how many agents one flat Box of actions is shared out; by default the environment's own
            `n_agents`. An environment registered with such an option gets it, too.
        options: for `gymnasium.make`.

    Raises:
        ValueError: Gymnasium or the package is missing, there is no such ID, it cannot be made with these options, or
            is not served.
        Broken: what its `reset` shows does not fit its spaces.
    """
    env_id, library = f"{FAMILY}{id}", _library()
    package, _, name = id.rpartition(":")
    if package:
        given.imported(env_id, package)
    if name not in library.registry and not package:
        raise ValueError(
            f"`env` '{env_id}' is not registered (Gymnasium {library.__version__}): write gymnasium:PACKAGE:ID, with "
            "the package that registers it, as in gymnasium:rware:rware-tiny-2ag-v2"
        )
    registered = library.registry[name].kwargs if name in library.registry else {}
    own = {"n_agents": n_agents} if n_agents is not None and "n_agents" in registered else {}
    try:
        with warnings.catch_warnings(action="ignore"):
            env = library.make(id, **({"disable_env_checker": True} | options | own))
    except (Exception, SystemExit) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"`env` '{env_id}' cannot be made with these `env-options`: {said}") from None
    version = given.version_of(type(env.unwrapped).__module__)
    return Joint(env, env_id, version, limit, team_reward, n_agents, options)


def _library() -> Any:
    try:
        return importlib.import_module("gymnasium")
    except ImportError as missing:
        raise ValueError(f"`env` {FAMILY}... needs gymnasium: pip install 'seca[gymnasium]' ({missing})") from None


class Joint:
    """One environment of Gymnasium's interface, played by a team. See `seca.envs.hosted.single.Single`.

    Flags are taken as they are, but for an end in the very step of a limit that is an attribute of the environment's
    own, which counts as cut: RWARE and level-based foraging report theirs as ends. Limits of the registration, whose
    wrapper says what it cuts, and those that are shorter leave no doubt.
    """

    def __init__(
        self,
        env: Any,
        env_id: str,
        version: str,
        limit: int | None = None,
        team_reward: str = "mean",
        n_agents: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Resets the environment once, to see what it shows. Raises ValueError and Broken: see `make`."""
        self._env, self._id, self._team_reward = env, env_id, given.team_reward_of(team_reward)
        self.watch: spaces.Watcher | None = None
        """Who is told of observations as they come; nobody, in training."""
        if n_agents is not None and (isinstance(n_agents, bool) or not isinstance(n_agents, int) or n_agents < 1):
            raise ValueError(f"`env-options` n_agents is {n_agents!r}; it must be a whole number of at least 1")
        team = n_agents if n_agents is not None else getattr(env.unwrapped, "n_agents", None)
        self._spaces = _shares(env_id, env.action_space, team)
        self._counts, box = spaces.counts_of(env_id, self._spaces)
        self._names = [str(agent) for agent in range(len(self._spaces))]
        if n_agents is not None and len(self._names) != n_agents:
            raise ValueError(f"`env-options` n_agents is {n_agents} but {env_id} takes actions of {len(self._names)}")
        self._seen, self._rows = _views(env_id, env.observation_space, self._names)
        obs_size = max(how.size for how in self._seen)
        info = self._probed()
        self.wins, self._has_state = WON in info, STATE in info
        types_said = given.types_in(env_id, env, len(self._names)) or [""] * len(self._names)
        limits = [getattr(env.spec, "max_episode_steps", None), *given.limits_in(env)]
        self._own_limit = given.least(_own_limits(env))
        self.spec = Spec(
            id=env_id,
            version=version,
            n_agents=len(self._names),
            n_actions=max(self._counts),
            obs_size=obs_size,
            state_size=int(np.size(info[STATE])) if self._has_state else obs_size * len(self._names),
            episode_limit=given.limit_of(env_id, limit, limits),
            options=given.kept(options or {}, limit=limit, team_reward=team_reward, n_agents=n_agents),
            ally_features=0 if self._has_state else obs_size,
            box=box,
            agent_types=types_of(
                [
                    (called, how.size, count)
                    for called, how, count in zip(types_said, self._seen, self._counts, strict=True)
                ]
            ),
        )
        self._time, self._avail = 0, np.zeros((len(self._names), self.spec.n_actions), bool)

    def _probed(self) -> Mapping[str, Any]:
        """The info of a first episode that is not played."""
        try:
            return self._reset(0)[1]
        except Broken:
            raise
        except (Exception, SystemExit) as error:
            raise ValueError(f"`env` '{self._id}' cannot be reset: {told(error)}") from None

    def _reset(self, seed: int) -> tuple[Any, Mapping[str, Any]]:
        shown = self._env.reset(seed=seed)
        if not isinstance(shown, tuple) or len(shown) != 2 or not isinstance(shown[1], Mapping):
            raise frames.broken(self._id, "reset", "it returns no pair of an observation and a dict")
        return shown[0], self._told(shown[1])

    def _told(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """The info, with what SMAClite says when asked by PyMARL's names."""
        inside = self._env.unwrapped
        if not (hasattr(inside, "get_state") and hasattr(inside, "get_avail_actions")):
            return info
        return {STATE: inside.get_state(), spaces.MASKS[1]: inside.get_avail_actions()} | dict(info)

    def reset(self, seed: int) -> Frame:
        """The same seed begins the same episode, if the environment has it so."""
        obs, info = self._reset(seed)
        self._time = 0
        return self._frame("reset", obs, info)

    def step(self, actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]) -> Frame:
        """One step of the whole team; what an agent may not do becomes the first that it may."""
        returned = self._env.step(self._joint(frames.allowed(self.spec, self._avail, actions)))
        self._time += 1
        where = f"step {self._time}"
        if not isinstance(returned, tuple) or len(returned) != 5 or not isinstance(returned[4], Mapping):
            raise frames.broken(self._id, where, "it returns no obs, reward, terminated, truncated and dict")
        obs, reward, terminated, truncated, info = returned
        each = np.size(reward) if not isinstance(reward, str) else 0
        if each not in (1, len(self._names)):
            raise frames.broken(self._id, where, f"it gives {each} rewards to {len(self._names)} agents")
        info, cut = self._told(info), self._time >= self.spec.episode_limit
        in_doubt = self._own_limit is not None and self._time >= self._own_limit
        terminated = bool(np.all(terminated)) and not in_doubt
        return self._frame(
            where,
            obs,
            info,
            reward=frames.team(self._id, where, reward, self._team_reward),
            terminated=terminated,
            truncated=(cut or bool(np.all(truncated))) and not terminated,
        )

    def _joint(self, actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]) -> Any:
        """The action of all as the environment's space has it."""
        space, kinds = self._env.action_space, spaces.library()
        if isinstance(space, kinds.Tuple):
            return tuple(spaces.own(one, action) for one, action in zip(self._spaces, actions, strict=True))
        if isinstance(space, kinds.MultiDiscrete):
            return np.array([int(one.start) for one in self._spaces], space.dtype) + actions.astype(space.dtype)
        if isinstance(space, kinds.Box):
            return np.asarray(actions, space.dtype).reshape(space.shape)
        return spaces.own(space, actions[0])

    def _frame(self, where: str, obs: Any, info: Mapping[str, Any], **ends: Any) -> Frame:
        shown = obs if self._rows else [obs]
        if not isinstance(shown, Sequence | np.ndarray) or len(shown) != len(self._names):
            raise frames.broken(self._id, where, f"it shows {type(obs).__name__}, not one observation for each agent")
        over = bool(ends.get("terminated") or ends.get("truncated"))
        rows, masks = [], []
        for agent, (name, how, value) in enumerate(zip(self._names, self._seen, shown, strict=True)):
            if self.watch is not None:
                self.watch(where, name, how, value)
            rows.append(spaces.numbers(self._id, where, name, how, value))
            masks.append(None if self.spec.box is not None else self._mask(where, agent, value, info))
        seen = frames.padded(rows, self.spec.obs_size)
        if self._has_state and STATE not in info:
            raise frames.broken(self._id, where, f"`{STATE}` is missing in info, where `reset` had it")
        state = info[STATE] if self._has_state else seen
        flat = frames.vector(self._id, where, "the state", state, self.spec.state_size)
        self._avail = frames.availability(self.spec, self._counts, masks, [False] * len(rows), over)
        frame = Frame(seen, flat, self._avail, won=self.wins and bool(info.get(WON)), **ends)
        return frames.checked(self.spec, frame, where, self._names)

    def _mask(self, where: str, agent: int, value: Any, info: Mapping[str, Any]) -> Any:
        """Of an agent: in its own observation, or its row in `info`, which may be as long as the longest of all."""
        name, count, most = self._names[agent], self._counts[agent], self.spec.n_actions
        rows = {}
        for key in spaces.MASKS:
            if info.get(key) is not None:
                of_team = info[key] if len(self._names) > 1 or np.ndim(info[key]) > 1 else [info[key]]
                if len(of_team) != len(self._names):
                    raise frames.broken(
                        self._id, where, f"{key} in info has {len(of_team)} rows, not one for each agent"
                    )
                rows[key] = of_team[agent]
                # SMAClite gives a healer one action less than it masks, and can do.
                count = most if np.size(of_team[agent]) == most else count
        return spaces.mask_in(self._id, where, name, count, value, rows)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def _own_limits(env: Any) -> list[Any]:
    """Limits that the environment, or a wrapper of somebody's own around it, has as attributes."""
    outermost = [] if isinstance(env, importlib.import_module("gymnasium").wrappers.TimeLimit) else given.limits_in(env)
    return [*outermost, *given.limits_in(env.unwrapped)]


def _shares(env_id: str, space: Any, n_agents: Any) -> list[Any]:
    """The action space of each agent in a joint one. Raises ValueError where it cannot be shared out."""
    kinds = spaces.library()
    if isinstance(space, kinds.Tuple):
        return list(space.spaces)
    if isinstance(space, kinds.MultiDiscrete):
        if space.nvec.ndim != 1:
            raise ValueError(
                f"`env` {env_id} has MultiDiscrete actions of {space.nvec.ndim} axes: served is one number each"
            )
        return [kinds.Discrete(int(n), start=int(start)) for n, start in zip(space.nvec, space.start, strict=True)]
    if not isinstance(space, kinds.Box) or not n_agents:
        return [space]
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    if low.size % n_agents:
        raise ValueError(f"`env` {env_id} has a Box of {low.size} numbers, which {n_agents} agents cannot share alike")
    parts = zip(np.split(low, n_agents), np.split(high, n_agents), strict=True)
    return [kinds.Box(*ends, dtype=space.dtype) for ends in parts]


def _views(env_id: str, space: Any, names: Sequence[str]) -> tuple[list[spaces.Seen], bool]:
    """How each agent's observation is read, and whether there is one for each. ValueError where there is not."""
    kinds, several = spaces.library(), len(names) > 1
    if isinstance(space, kinds.Tuple) and len(space.spaces) == len(names):
        parts = list(space.spaces)
    elif isinstance(space, kinds.Box) and len(space.shape) > 1 and space.shape[0] == len(names):
        parts = [kinds.Box(low, high, dtype=space.dtype) for low, high in zip(space.low, space.high, strict=True)]
    elif isinstance(space, kinds.MultiDiscrete) and several and space.nvec.shape[0] == len(names):
        rows = zip(space.nvec, space.start, strict=True)
        parts = [kinds.MultiDiscrete(np.atleast_1d(n), start=np.atleast_1d(start)) for n, start in rows]
    elif several:
        raise ValueError(
            f"`env` {env_id} shows {space} to {len(names)} agents: served are a Tuple of one for each, or an array "
            "whose first axis is the agents"
        )
    else:
        return [spaces.seen(env_id, names[0], space)], False
    return [spaces.seen(env_id, name, part) for name, part in zip(names, parts, strict=True)], True
