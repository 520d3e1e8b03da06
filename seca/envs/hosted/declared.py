"""What an environment in Python says of itself, held against what it shows: a process of `seca check-env`.

Training does not ask. Here the environment is played once more, at random, and every observation is looked at as it
comes, before it is laid flat.
"""

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from seca.envs.hosted import gymnasium, kinds, pettingzoo, pymarl, spaces
from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.single import Broken, Frame, Single, Spec
from seca.errors import told

EPISODES = 8
SECONDS = 60.0
"""How long it may take, beyond which nothing is said."""
_SLACK = 1e-5
"""Share of a bound by which float32 may miss it."""


@dataclasses.dataclass(frozen=True)
class Looked:
    """What was found out."""

    reseeds: bool = True
    """Whether each episode is given a seed, and not the environment alone when it is made."""
    found: tuple[tuple[str, str, bool], ...] = ()
    """Of each finding its name, its line, and whether it is a mere note."""


class Watch:
    """Looks at observations as an environment shows them. Of each agent and number the first that is odd is kept."""

    def __init__(self) -> None:
        self._outside: dict[tuple[str, int], str] = {}
        self._forms: dict[str, str] = {}

    def __call__(self, where: str, name: str, how: spaces.Seen, value: Any) -> None:
        """See `spaces.Watcher`."""
        shown = value.get(spaces.SEEN) if how.in_dict and isinstance(value, Mapping) else value
        if shown is None or not isinstance(how.space, spaces.library().Box):
            return  # Of others `spaces.numbers` asks the space itself.
        try:
            row = np.asarray(shown, np.float64).reshape(-1)
        except (TypeError, ValueError):
            return
        if row.size != how.size:
            return
        found, wanted = _form(shown), f"{how.space.dtype}{list(how.space.shape)}"
        if found != wanted:
            self._forms.setdefault(name, f"agent {name} is shown {found} at {where}, and its space says {wanted}")
        low, high = (np.asarray(end, np.float64).reshape(-1) for end in (how.space.low, how.space.high))
        # Of no bound nothing is beyond: the slack is then infinite, too.
        beyond = (row < low - _SLACK * (1 + abs(low))) | (row > high + _SLACK * (1 + abs(high)))
        for at in np.flatnonzero(beyond).tolist():
            line = (
                f"agent {name} sees {row[at]:.4g} as number {at} at {where}, and its space goes from {low[at]:.4g} to "
            )
            self._outside.setdefault((name, at), f"{line}{high[at]:.4g}")

    def found(self) -> tuple[tuple[str, str, bool], ...]:
        """What was odd, in one finding of each kind."""
        told: list[tuple[str, str, bool]] = []
        if self._outside:
            line = (
                f"{next(iter(self._outside.values()))}{_more(len(self._outside), 'number')}: give the space the bounds "
            )
            told.append(("outside-space", f"{line}that observations have, or divide by their range", False))
        if self._forms:
            line = f"{next(iter(self._forms.values()))}{_more(len(self._forms), 'agent')}: it is made float32 and laid "
            told.append(("not-as-declared", f"{line}flat here, and other libraries refuse it", True))
        return tuple(told)


def _form(shown: Any) -> str:
    """`float32[2, 3]`, or what it is in place of an array."""
    if isinstance(shown, np.ndarray | np.generic):
        return f"{shown.dtype}{list(shown.shape)}"
    return f"a {type(shown).__name__}"


def _more(count: int, what: str) -> str:
    """` (and 2 more numbers like it)`; nothing of one alone."""
    return f" (and {count - 1} more {what}{'s' * (count > 2)} like it)" if count > 1 else ""


def look(env: Single, steps: int = 200, seed: int = 0) -> Looked:
    """Find out what can be, of an environment that nobody else plays.

    Those of PettingZoo's and Gymnasium's interfaces are played, at random and as is allowed; of PyMARL's only whether
    its episodes are given seeds is found out, since a game may have to be started for more.

    Args:
        env: it is not closed.
        steps: env steps of an episode at most.
        seed: of the actions; episodes have the seeds from 0 on.
    """
    if isinstance(env, pymarl.Told):
        return Looked(reseeds=env.reseeds)
    if not isinstance(env, pettingzoo.Parallel | gymnasium.Joint):
        return Looked()
    env.watch = watch = Watch()
    rng = np.random.default_rng(seed)
    try:
        for episode in range(EPISODES):
            frame, played = env.reset(episode), 0
            while not frame.done and played < steps:
                frame, played = env.step(choice(env.spec, frame, rng)), played + 1
    except Broken as error:
        return Looked(found=(*watch.found(), ("contract", str(error), False)))
    except (Exception, SystemExit) as error:
        return Looked(found=(*watch.found(), ("raises", f"in legal play it raises {told(error)}", False)))
    finally:
        env.watch = None
    return Looked(found=watch.found())


def choice(spec: Spec, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """A joint action at random: any that is available, or any point of the box."""
    if spec.box is not None:
        return rng.uniform(*spec.box, (spec.n_agents, spec.n_actions)).astype(np.float32)
    return np.array([rng.choice(np.flatnonzero(row)) for row in frame.avail], np.int32)


def ask(recipe: Recipe, seconds: float = SECONDS) -> Looked:
    """`look` at the environment, in a process that ends with it: it may print, hang or die as it likes."""
    heard, told_to = os.pipe()
    words = json.dumps([recipe.kind, recipe.name, [list(pair) for pair in recipe.options]])
    path = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "seca.envs.hosted.declared", str(told_to), str(int(seconds) + 1), words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(told_to,),
        start_new_session=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
    )
    os.close(told_to)
    try:
        answer = _read(heard, time.monotonic() + seconds)
    finally:
        os.close(heard)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if not answer.endswith(b"\n"):
        line = (
            "whether observations lie within their spaces is not known: a process that was to find out gave no answer"
        )
        return Looked(found=(("not-looked-at", f"{line} in {seconds:g} s", True),))
    reseeds, found = json.loads(answer)
    return Looked(reseeds, tuple((name, line, note) for name, line, note in found))


def _read(heard: int, until: float) -> bytes:
    """One line, or what there is of it when time is up or nobody is there any more."""
    answer = b""
    while not answer.endswith(b"\n") and select.select([heard], [], [], max(0.0, until - time.monotonic()))[0]:
        more = os.read(heard, 65536)
        if not more:
            break
        answer += more
    return answer


def main() -> None:
    """What `ask` starts: file descriptor of the answer, seconds until it has to be gone, and the recipe."""
    answer, seconds, words = sys.argv[1:]
    signal.alarm(int(seconds))  # Also if whoever started it is gone.
    kind, name, options = json.loads(words)
    env = kinds.make(Recipe(kind, name, tuple((option, value) for option, value in options)))
    looked = look(env)
    with os.fdopen(int(answer), "w") as file:
        file.write(json.dumps([looked.reseeds, looked.found]) + "\n")


if __name__ == "__main__":
    main()
