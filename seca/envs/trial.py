"""An environment tried out: played at random, legally and illegally, twice and in batches of several sizes."""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from seca import numerics
from seca.envs import check, findings, play
from seca.envs.base import Env, Host
from seca.envs.findings import Finding
from seca.envs.hosted import declared
from seca.envs.hosted.pool import Pool
from seca.envs.play import Chooser, Played, Player
from seca.errors import RunError, UsageError
from seca.types import EnvSpec, PyTree, TimeStep

FEW = 3
"""Episodes that are played again in a batch of their own."""
SHORT = 32
"""Env steps for which they are."""
MEMORY = 2**29
"""Bytes that what was shown may take, over which fewer episodes are played."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What was played, and what was found."""

    env: str
    spec: EnvSpec | None
    """None where the environment could not even be made."""
    played: dict[str, Any]
    """JSON-ready: `episodes`, `env_steps`, `lengths`, `returns`, `wins`, `observations`, `states`, `masked`, `forks`,
    `env_steps_per_s`, `runners`, `state_bytes`, `episode_bytes`, ...; only what could be found out."""
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[Finding]:
        """Findings that are no mere notes."""
        return [finding for finding in self.findings if not finding.note]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        names = ("version", "n_agents", "n_actions", "obs_size", "state_size", "episode_limit")
        lines = [dataclasses.asdict(finding) for finding in self.findings]
        return {
            "env": self.env,
            "spec": None if self.spec is None else {name: getattr(self.spec, name) for name in names},
            "played": self.played,
            "findings": [{"name": line["name"], "line": line["line"]} for line in lines if not line["note"]],
            "notes": [{"name": line["name"], "line": line["line"]} for line in lines if line["note"]],
        }


def refused(env: str, why: str) -> Report:
    """The report of what does not keep the contract, so that nothing could be played."""
    return Report(env, None, {}, (Finding("contract", why),))


def with_training(report: Report, preset: str, env_steps_per_s: float) -> Report:
    """The report with the rate of a whole training, and the share of its time that the environment takes by its own."""
    told: dict[str, Any] = {"preset": preset, "training_env_steps_per_s": env_steps_per_s}
    if "env_steps_per_s" in report.played:
        told["share"] = env_steps_per_s / report.played["env_steps_per_s"]
    return dataclasses.replace(report, played=report.played | told)


@numerics.own()
def examine(env: Env, runners: int = 32, seed: int = 0, steps: int = 2000, seconds: float = 1.0) -> Report:
    """Play an environment and tell what is wrong with it.

    Args:
        env: as `registry.make` makes it, or one of your own.
        runners: episodes side by side, at least 3; fewer where what they show would take more than 512 MiB.
        seed: of everything.
        steps: env steps of each play at most; a longer `episode_limit` is not looked at.
        seconds: how long the rate is measured, beyond compiling and one warm-up; 0 leaves it out.

    Raises:
        ValueError: `runners` is too small.
    """
    spec = env.spec
    if runners < FEW:
        raise ValueError(f"`runners` is {runners}; it must be at least {FEW}, which are played again to compare")
    try:
        check.check_env(env)
    except ValueError as error:
        return refused(str(spec.id), str(error))
    length = min(steps, spec.episode_limit + min(64, spec.episode_limit // 2 + 8))
    runners = max(FEW, min(runners, MEMORY // max(1, _shown_bytes(spec) * (length + 1))))
    player, legal = Player(env), play.legal(spec)
    reset_keys, luck, other_luck = (
        jax.random.split(jax.random.fold_in(numerics.key(seed), purpose), runners) for purpose in range(3)
    )
    main = player.play(reset_keys, luck, legal, length)
    told = [] if main.broken is None else [Finding("raises", f"in legal play, after {main.steps} steps, {main.broken}")]
    if env.host is not None and (failed := _failed(env.host)):
        return Report(str(spec.id), spec, {"runners": runners}, (*told, failed))
    if len(main.obs):
        told += findings.found(spec, main)
    played: dict[str, Any] = {"runners": runners, **_summary(spec, main)}
    if main.broken is None:
        looked = declared.ask(env.host.recipe) if isinstance(env.host, Pool) else declared.Looked()
        told += [Finding(*one) for one in looked.found]
        keys = reset_keys, luck, other_luck
        told += _again(player, main, keys, legal, min(length, SHORT), looked.reseeds)
        healthy = not any(finding.name == "not-finite" for finding in told)
        if healthy and (spec.box is not None or not main.avail.all()):
            told += findings.corrupted(spec, player.play(reset_keys, other_luck, play.illegal(spec), length))
        if spec.episode_limit > steps:
            line = f"`episode_limit` is {spec.episode_limit} and only {steps} steps were played: play on with more"
            told.append(Finding("limit-not-reached", line, note=True))
        played |= _costs(env, runners, seconds)
    return Report(str(spec.id), spec, played, tuple(told))


Keys = Key[Array, " batch"]


def _failed(host: Host) -> Finding | None:
    """Why workers cannot go on, or that some had to be started anew."""
    try:
        host.check()
    except (RunError, UsageError) as error:
        return Finding("raises", str(error))
    if host.restarts:
        return Finding("fails", f"it failed {host.restarts} times in legal play, the last time: {host.said}")
    return None


@dataclasses.dataclass(frozen=True)
class _Words:
    """What to change, in the words of those who write such an environment."""

    again: str
    batch: str
    luck: str


_PURE = _Words(
    "the same keys and actions give another episode ({}): draw from the key that `reset` is given alone, and keep what "
    "luck needs in the state",
    "let nothing depend on other episodes (`jax.vmap` one, each with its own key)",
    "every key gives the same episode: fine where nothing is random, else draw from the key given to `reset`",
)
_HOSTED = _Words(
    "the same seed and actions give another episode ({}): draw all luck from a generator made of `reset`'s seed "
    "(`np.random.default_rng(seed)`), and none from `random` or NumPy's own; let `reset` put everything back",
    "let environments of one process share nothing: no variables of the class or the module, no generator",
    "every seed gives the same episode: fine where nothing is random, else draw from the seed given to `reset`",
)
_OWN_LUCK = (
    "it is given a seed when it is made, and none by `reset`: each episode follows from those before it. So a run has "
    "other numbers after a break than without. Whether the same seed gives the same episodes, whether other "
    "environments matter to them, and whether actions do, was not looked at"
)


def _again(
    player: Player, main: Played, keys: tuple[Keys, Keys, Keys], legal: Chooser, steps: int, reseeds: bool
) -> list[Finding]:
    """What comes of playing a few of the episodes again: alone, twice, with other actions, and with other keys."""
    reset_keys, luck, other_luck = keys
    words = _PURE if player.env.host is None else _HOSTED
    told: list[Finding] = []
    who = np.arange(len(reset_keys))[::-1][:FEW]  # None where it was: a batch may draw all luck from its first key.
    few = (reset_keys[who], luck[who])
    first, second = (player.play(*few, legal, steps) for _ in range(2))
    where = findings.difference(first, second)
    if where is not None and not reseeds:
        return [Finding("own-luck", _OWN_LUCK, note=True)]
    if where is not None:
        return [Finding("not-repeatable", words.again.format(where))]
    where = findings.difference(_of(main, who), first)
    if where is not None:
        line = f"an episode in a batch of {len(luck)} is another in one of {FEW} ({where})"
        told.append(Finding("batch-matters", f"{line}: {words.batch}"))
    others = player.play(reset_keys[who], other_luck[who], legal, steps)
    if not np.array_equal(others.actions, first.actions) and findings.difference(first, others) is None:
        line = f"other actions lead to the same in {min(first.steps, others.steps)} steps: `step` must use its actions"
        told.append(Finding("actions-do-nothing", line))
    if np.array_equal(main.obs[0], np.broadcast_to(main.obs[0, :1], main.obs[0].shape)):
        told += _alike(player, reset_keys, luck[np.zeros(len(luck), int)], legal, steps, words)
    return told


def _alike(player: Player, reset_keys: Keys, luck: Keys, legal: Chooser, steps: int, words: _Words) -> list[Finding]:
    """Whether all keys give the same episode, and whether luck is drawn nevertheless."""
    same = player.play(reset_keys, luck, legal, steps)
    batch = np.arange(len(reset_keys))
    if findings.difference(same, _of(same, np.zeros_like(batch))) is not None:
        return []
    # Of workers every reset draws: it makes their seeds of the keys.
    if player.env.host is None and "random_bits" in f"{jax.make_jaxpr(player.env.reset)(reset_keys)}":
        line = "every key gives the same episode although `reset` draws random numbers: draw them from the key it is "
        return [Finding("key-not-used", f"{line}given")]
    return [Finding("no-luck", words.luck, note=True)]


def _of(played: Played, who: np.ndarray) -> Played:
    """Some of the episodes, in the order asked for."""
    info = {name: array[:, who] for name, array in played.info.items()}
    arrays = {
        field.name: getattr(played, field.name)[:, who]
        for field in dataclasses.fields(played)
        if field.name not in ("info", "broken")
    }
    return Played(**arrays, info=info, broken=played.broken)


def _summary(spec: EnvSpec, played: Played) -> dict[str, Any]:
    """What was seen, in numbers."""
    if not played.steps:
        return {}
    ended = np.minimum(played.ends, played.steps)
    alive = np.arange(1, played.steps + 1)[:, None] <= ended
    returns = np.where(alive, played.reward[1:], 0.0).sum(axis=0)
    told: dict[str, Any] = {
        "episodes": len(ended),
        "env_steps": int(alive.sum()),
        "lengths": [int(ended.min()), int(ended.max())],
        "truncated": int(played.truncated.any(axis=0).sum()),
        "returns": _ends(returns),
        "observations": _ends(played.obs),
        "states": _ends(played.state),
        "masked": 0.0 if spec.box is not None else float(1 - played.avail.mean()),
    }
    won = played.info.get("won")
    return told if won is None else told | {"wins": int(won[-1].sum())}


def _ends(array: np.ndarray) -> list[float | None]:
    """Least and largest; None in place of what JSON has no number for."""
    return [float(x) if np.isfinite(x) else None for x in (array.min(), array.max())]


def _costs(env: Env, runners: int, seconds: float) -> dict[str, Any]:
    """Memory by shapes, the rate by a clock, and whether episodes can be forked."""
    keys = jax.eval_shape(lambda: jax.random.split(numerics.key(0), runners))
    state, _ = jax.eval_shape(env.reset, keys)
    held = sum(leaf.size * _item(leaf) for leaf in jax.tree.leaves(state))
    told: dict[str, Any] = {
        "state_bytes": held // runners,
        "episode_bytes": _shown_bytes(env.spec) * (env.spec.episode_limit + 1),
    }
    try:
        check.check_pure(env)
        told["forks"] = True
    except ValueError as error:
        told |= {"forks": False, "forks_not": str(error)}
    return told if seconds <= 0 else told | {"env_steps_per_s": _rate(env, runners, seconds)}


def _item(leaf: Any) -> int:
    """Bytes of one entry; a key's are those of its two words."""
    return 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize


def _shown_bytes(spec: EnvSpec) -> int:
    """What one env step of one episode shows, in bytes."""
    return 4 * (spec.n_agents * spec.obs_size + spec.state_size) + spec.n_agents * spec.n_actions + 6


def _rate(env: Env, runners: int, seconds: float) -> float:
    """Env steps per second of random legal play, as much of it as fits into the time: the median."""
    steps = min(64, env.spec.episode_limit)
    program, reset = jax.jit(functools.partial(_many, env, steps)), jax.jit(env.reset)
    keys = jax.random.split(numerics.key(0), runners)
    start = (*reset(keys), keys)
    jax.block_until_ready(program(start))
    rates: list[float] = []
    until = time.perf_counter() + seconds
    while not rates or time.perf_counter() < until:
        # Workers cannot go back; they do nothing for an episode that is over.
        start = start if env.host is None else jax.block_until_ready((*reset(keys), keys))
        began = time.perf_counter()
        _, live = jax.block_until_ready(program(start))
        taken = time.perf_counter() - began
        rates.append((steps * runners if env.host is None else int(live.sum())) / taken)
    return float(np.median(rates))


Carry = tuple[PyTree, TimeStep, Keys]


def _many(env: Env, steps: int, carry: Carry) -> tuple[Carry, Array]:
    """So many env steps, and of how many episodes each was; one that is over takes its share of time, too."""
    return jax.lax.scan(functools.partial(_one, env), carry, None, length=steps)


def _one(env: Env, carry: Carry, _: None) -> tuple[Carry, Array]:
    state, shown, keys = carry
    keys, act_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    return (*env.step(state, play.legal(env.spec)(act_keys, shown.avail)), keys), jnp.sum(~shown.done)


def text(report: Report) -> str:
    """The report for people."""
    spec, seen = report.spec, report.played
    lines = [report.env]
    if spec is not None:
        acts = f"{spec.n_actions} actions" if spec.box is None else f"actions of {spec.n_actions} numbers"
        sizes = f"{spec.n_agents} agents, {acts}, observations of {spec.obs_size}, state of {spec.state_size}"
        lines[0] += f" ({spec.version}): {sizes}, at most {spec.episode_limit} steps"
    lines += _told(seen)
    failures, notes = report.failures, [finding for finding in report.findings if finding.note]
    lines += [f"{number}. {finding.line}" for number, finding in enumerate(failures, start=1)]
    lines += [f"note: {finding.line}" for finding in notes]
    count = f"{len(failures)} finding{'' if len(failures) == 1 else 's'}"
    return "\n".join([*lines, "nothing found" if not failures else count])


def _told(seen: dict[str, Any]) -> list[str]:
    """What was played, in words."""
    lines = []
    if "episodes" in seen:
        least, most = seen["lengths"]
        length = f"{most} steps" if least == most else f"{least} to {most} steps"
        wins = f", {seen['wins']} won" if "wins" in seen else ""
        ends = f"{length}, {seen['truncated']} truncated{wins}, returns {_span(seen['returns'])}"
        lines.append(f"played: {seen['episodes']} random episodes of {ends}")
        masked = f"{100 * seen['masked']:.0f} % of actions masked"
        lines.append(f"shown: observations {_span(seen['observations'])}, states {_span(seen['states'])}, {masked}")
    if "env_steps_per_s" in seen:
        lines.append(f"speed: {seen['env_steps_per_s']:,.0f} env steps/s with {seen['runners']} runners")
    if "training_env_steps_per_s" in seen:
        share = f", the environment {seen['share']:.0%} of its time" if "share" in seen else ""
        lines.append(f"training: {seen['training_env_steps_per_s']:,.0f} env steps/s with {seen['preset']}{share}")
    if "state_bytes" in seen:
        sizes = f"{seen['state_bytes']:,} bytes of state for each runner, an episode {seen['episode_bytes']:,}"
        lines.append(f"memory: {sizes}")
        lines.append("forks: its episodes can be" if seen["forks"] else f"forks: none, as {seen['forks_not']}")
    return lines


def _span(ends: list[float | None]) -> str:
    least, most = ("?" if end is None else f"{end:.4g}" for end in ends)
    return least if least == most else f"{least} to {most}"
