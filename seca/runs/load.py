"""A run read back from its folder: what it trained, ready to act."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from seca import numerics
from seca.algos.base import Algorithm
from seca.config import RunConfig, decisive, to_dict
from seca.envs import registry
from seca.envs.base import Env
from seca.envs.check import check_pure
from seca.envs.hosted.pool import Hosting
from seca.errors import UsageError, refusing
from seca.learning.options import UNADAPTED
from seca.presets import build
from seca.runs import folder as folders
from seca.runs import opponent as opponents
from seca.runs import workers
from seca.runs.folder import RunFolder
from seca.runs.recorder import Position
from seca.train import checkpoint
from seca.train.state import TrainState, init_state
from seca.types import Actions, PyTree, TimeStep

Newest = Literal["latest", "best", "highest-return"]
Kind = Newest | int
"""Which checkpoint: the newest of a kind, or the first snapshot at so many env steps or later."""


def kind_name(kind: Kind) -> str:
    """In words."""
    return "snapshot" if isinstance(kind, int) else kind


@dataclasses.dataclass(frozen=True)
class Built:
    """What a configuration stands for."""

    config: RunConfig
    env: Env
    algorithm: Algorithm
    opponent: str | None = None
    """Who commands the enemy in `env`, where it is not whom the configuration names."""
    home: RunFolder | None = None
    """The run's own folder, where there is one already."""


def build_run(config: RunConfig, opponent: str | None = None, home: RunFolder | None = None) -> Built:
    """Environment and algorithm of a configuration, against another opponent if one is given: a name or a run folder.

    What the configuration names by a path is taken from the copies in `home`, the run's own folder, where it has them.
    Raises UsageError when they do not exist or do not fit.
    """
    if opponent is not None and not registry.is_battle(config.env):
        raise UsageError(f"`opponent` is '{opponent}' but {config.env} has no enemy: only smac/ environments have")
    options = config.env_options if opponent is None else {**config.env_options, "opponent": opponent}
    with refusing():
        enemy_home = None if home is None or opponent is not None else home.opponent
        env = make_env(config.env, options, home, enemy_home, workers.hosting(config))
        try:
            algorithm = build(config.preset, env.spec, config.algorithm, config.adaptation)
            if algorithm.forking is not None:
                check_pure(env)
        except ValueError:
            if env.host is not None:
                env.host.close()
            raise
        return Built(config, env, algorithm, opponent, home)


def make_env(
    env: str,
    options: Mapping[str, Any],
    home: RunFolder | None = None,
    enemy_home: RunFolder | None = None,
    hosting: Hosting | None = None,
) -> Env:
    """The environment of this name with its options, where `opponent` may be the folder of a run.

    The version then follows the policy of that run, so that a checkpoint made against what it was before is refused.
    `home` may hold a copy of the scenario file, and `enemy_home` be one of the opponent's folder. `hosting` is for one
    that workers play.

    Raises ValueError in one line when there is no such environment, option or run, or they do not fit.
    """
    scenario = None if home is None else home.found_scenario(env)
    env = env if scenario is None else registry.of_file(scenario)
    if enemy_home is not None and enemy_home.config.exists():
        path: pathlib.Path | None = enemy_home.path
    else:
        path = opponents.named_run(env, options)
    if path is None:
        return registry.make(env, dict(options), hosting)
    folder = folders.existing(path, "opponent")
    # Whom that run itself was trained against plays no part here: it may be gone, or another by now.
    nobody = opponents.nobody(folders.read_config(folder.config))
    run = load(path, newest_kind(folder), opponent=nobody)
    params = run.algorithm.policy(run.state.learner)
    enemy = opponents.of_policy(env, options, run.env.spec, run.algorithm, params, run.state.env_steps)
    made = registry.make(env, {**options, "opponent": enemy})
    version = f"{made.spec.version}{_AGAINST}{opponents.fingerprint(params, run.state.env_steps)}"
    return dataclasses.replace(made, spec=dataclasses.replace(made.spec, version=version))


_AGAINST = "-against-"
"""In the version of an environment, before the fingerprint of the policy that commands the enemy."""


class LoadedRun:
    """A trained policy that acts, with its environment; `act` remembers the recurrent state between calls.

    It can be copied, and sent to another process that sees the run's folder: the copy goes on alike.
    """

    @numerics.own()
    def __init__(self, built: Built, state: TrainState, seed: int = 0) -> None:
        self.config, self.env, self.algorithm, self.state = built.config, built.env, built.algorithm, state
        self._built = built
        self._params = built.algorithm.policy(state.learner)
        self._act = jax.jit(built.algorithm.act, static_argnames="greedy")
        self._key = numerics.key(seed)
        self._carry: PyTree = None

    def __getstate__(self) -> dict[str, Any]:
        """Arrays, and what the rest is built from: compiled programs cannot be sent anywhere."""
        home = self._built.home
        return {
            "config": self.config,
            "opponent": self._built.opponent,
            "home": None if home is None else home.path.absolute(),
            "state": jax.device_get(self.state),
            "key": jax.device_get(jax.random.key_data(self._key)),
            "carry": jax.device_get(self._carry),
        }

    @numerics.own()
    def __setstate__(self, stored: dict[str, Any]) -> None:
        home = None if stored["home"] is None else RunFolder(stored["home"])
        built = build_run(stored["config"], stored["opponent"], home)
        LoadedRun.__init__(self, built, jax.tree.map(jnp.asarray, stored["state"]))
        self._key = numerics.typed(jnp.asarray(stored["key"]))
        self._carry = jax.tree.map(jnp.asarray, stored["carry"])

    def reset(self) -> None:
        """Forget the episode so far; call it whenever the environment is reset."""
        self._carry = None

    @numerics.own()
    def act(self, time_step: TimeStep, greedy: bool = True) -> Actions:
        """Actions for a batch of environments, best ones or sampled.

        Continuous ones are those of an environment that `seca.make` made: -1 is the low end of a number, 1 its high
        end, and whatever a policy draws beyond counts as that end.
        """
        batch = time_step.reward.shape[0]
        if self._carry is None:
            self._carry = self.algorithm.initial_carry(batch)
        self._key, act_key = jax.random.split(self._key)
        keys = jax.random.split(act_key, batch)
        shown = numerics.narrow(time_step)
        acted = self._act(self._params, self._carry, shown, keys, self.state.env_steps, greedy=greedy)
        self._carry = acted.carry
        return acted.actions


def load(
    path: str | os.PathLike[str], checkpoint: Kind = "latest", seed: int = 0, opponent: str | None = None
) -> LoadedRun:
    """The run at `path`, with the policy of its latest or best checkpoint; `seed` is for sampled actions only.

    `opponent`, a name or a run folder, takes the place of the one it was trained against in the run's environment.
    Raises UsageError when there is no such run, no such checkpoint, or it is damaged or of another version.
    """
    folder = folders.existing(pathlib.Path(path))
    built = build_run(folders.read_config(folder.config), opponent, folder)
    return LoadedRun(built, load_state(folder, checkpoint, built)[0], seed)


def newest_kind(folder: RunFolder) -> Newest:
    """`latest`, or `best` where there is nothing else: in the copy that a run keeps of its opponent."""
    latest, best = (checkpoint.find(folder.checkpoints, kind) for kind in ("latest", "best"))
    return "best" if best and not latest else "latest"


def load_state(folder: RunFolder, kind: Kind, built: Built) -> tuple[TrainState, Position]:
    """State and position of a checkpoint. Raises UsageError when there is none."""
    found = newest_valid(folder, kind, built)
    if found is None:
        raise UsageError(f"`run` is {folder.path}: it has no {kind_name(kind)} checkpoint yet")
    return found


@numerics.own()
def newest_valid(folder: RunFolder, kind: Kind, built: Built) -> tuple[TrainState, Position] | None:
    """State and position of the newest undamaged checkpoint, or None when there is none at all.

    The best checkpoints hold no replay buffer, and so do their states.

    A kill between writing a checkpoint and deleting the one before leaves two, the older one perhaps half deleted, so
    a damaged one is passed over only when another is whole. Raises UsageError otherwise.
    """
    refused: Exception | None = None
    if isinstance(kind, int):
        _check_kept(folder, kind)
    for path in _candidates(folder, kind):
        try:
            metadata = checkpoint.read_metadata(path)
            position = _position(path, metadata)
            check_fits(path, metadata, built)
            template = jax.eval_shape(functools.partial(init_state, built.algorithm, built.config.seed))
            if kind != "latest":
                template = template.without_replay()
            return checkpoint.load(path, template), position
        except (checkpoint.CheckpointError, FileNotFoundError) as error:
            if not path.exists():  # The run goes on and has just replaced it.
                return newest_valid(folder, kind, built)
            refused = refused or error
    if refused is not None:
        other: Newest = "best" if kind == "latest" else "latest"
        usable = "is damaged" in str(refused) and checkpoint.find(folder.checkpoints, other)
        hint = f"; try `--checkpoint {other}`" if usable else ""
        raise UsageError(f"`run` is {folder.path}: {refused}{hint}")
    return None


def _candidates(folder: RunFolder, kind: Kind) -> list[pathlib.Path]:
    """Checkpoints of a kind, the one to take first."""
    if not isinstance(kind, int):
        return checkpoint.find(folder.checkpoints, kind)
    return [path for env_steps, path in checkpoint.snapshots(folder.checkpoints).items() if env_steps >= kind][:1]


def _check_kept(folder: RunFolder, env_steps: int) -> None:
    """Raise UsageError where no snapshot was kept at so many env steps or later."""
    there = list(checkpoint.snapshots(folder.checkpoints))
    if not there:
        raise UsageError(
            f"`checkpoint` is {env_steps} but {folder.path} has kept no policies on the way: `seca train "
            "--snapshot-interval` keeps them; choose latest, best or highest-return"
        )
    if not 0 <= env_steps <= there[-1]:
        raise UsageError(
            f"`checkpoint` is {env_steps} but {folder.path} has kept policies from {there[0]} to {there[-1]} env steps"
        )


def _position(path: pathlib.Path, metadata: dict[str, Any]) -> Position:
    """Where a checkpoint was made, after looking at all that is read of its metadata. Raises CheckpointError."""
    try:
        for name, kind, words in (
            ("env", str, "a text"),
            ("env_version", str, "a text"),
            ("config", dict, "an object"),
        ):
            if not isinstance(metadata.get(name), kind):
                raise ValueError(f"`{name}` is {metadata.get(name)!r}: expected {words}")
        return Position.from_metadata(metadata)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"checkpoint {path} is damaged: its metadata's {error}") from None


UNSAID = {"loop.minibatches": 1} | decisive({"adaptation": dataclasses.asdict(UNADAPTED)})
"""What options were, in whose time there were none."""


def check_fits(path: pathlib.Path, metadata: dict[str, Any], built: Built) -> None:
    """Refuse a checkpoint of another environment, environment version, opponent's policy or configuration."""
    spec = built.env.spec
    (made_in, _, then), (played, _, now) = (v.partition(_AGAINST) for v in (metadata["env_version"], spec.version))
    if built.opponent is None and made_in == played and then != now:
        raise UsageError(
            f"`opponent` is {built.config.env_options.get('opponent')}: its policy is {now}, but checkpoint {path} "
            f"was made against {then or 'another, before policies had fingerprints'}; it was trained on or replaced "
            "since; put back what it was, `seca evaluate --opponent` another, or train anew"
        )
    # A scenario file is what it says, wherever it lies: its version holds its fingerprint.
    files_both = None not in (registry.scenario_file(metadata["env"]), registry.scenario_file(spec.id))
    named = [] if files_both else ["env"]
    seen = {"env": (metadata["env"], spec.id), "env_version": (made_in, played)}
    for name in (*named, "env_version"):
        before, current = seen[name]
        if before != current:
            raise UsageError(
                f"`{name}` of checkpoint {path} is '{before}' but this seca plays '{current}': what it learned "
                f"there does not carry over; install the seca that made it, or train anew"
            )
    # Checkpoints from before there was an option do not say that it was left alone.
    before, now = UNSAID | decisive(metadata["config"]), decisive(to_dict(built.config))
    if not named:
        before.pop("env", None), now.pop("env")
    # An option of the environment given now but not then changes it as much as another value would.
    added = {name for name in now if name.startswith("env_options.")}
    for name in sorted(before.keys() | added):
        if before.get(name) != now.get(name):
            raise UsageError(
                f"`{name}` of config.json is {json.dumps(now.get(name))} but checkpoint {path} was made with "
                f"{json.dumps(before.get(name))}; put it back, or start a new run"
            )
