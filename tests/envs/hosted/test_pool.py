"""Workers play what an environment by itself would, and what fails is started anew, within bounds."""

import concurrent.futures
import functools
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hosted_games import count

from seca.envs.hosted import arrays as blocks
from seca.envs.hosted import kinds
from seca.envs.hosted.batches import Shown
from seca.envs.hosted.lanes import Asked, Lanes, Recipe, Reply
from seca.envs.hosted.pool import Hosting, Pool
from seca.envs.hosted.processes import Lost
from seca.errors import RunError, UsageError


@pytest.fixture
def opened() -> Iterator:
    pools: list[Pool] = []

    def make(lanes: int = 3, workers: int = 2, seconds: float = 20.0, name: str = "count", **options) -> Pool:
        recipe = Recipe("python", f"hosted_games.{name}", tuple(sorted(options.items())))
        pools.append(Pool(recipe, Hosting(lanes, workers, seconds, restarts=2)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def seeds(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def stepped(pool: Pool, number: np.ndarray, shown: Shown, actions: np.ndarray) -> Shown:
    return pool.step(number, np.arange(len(number), dtype=np.int32), shown.time, actions)


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "workers", "continuous"), [(5, 2, False), (4, 4, True), (3, 1, False)])
def test_it_plays_as_the_environment_itself(opened, lanes: int, workers: int, continuous: bool) -> None:
    """Whatever lane and worker an episode is at; those that are over stay as they are, and are paid nothing."""
    pool = opened(lanes, workers, length=4, limit=3, continuous=continuous)
    rng = np.random.default_rng(0)
    alone = [count(length=4, limit=3, continuous=continuous) for _ in range(lanes)]
    for _ in range(2):  # The second batch is played by environments that have played before.
        begun = rng.integers(2**31 - 1, size=lanes, dtype=np.int32)
        number, shown = pool.reset(begun)
        frames = [env.reset(int(seed)) for env, seed in zip(alone, begun, strict=True)]
        for t in range(5):
            for row, frame in enumerate(frames):
                np.testing.assert_array_equal(shown.obs[row], frame.obs)
                np.testing.assert_array_equal(shown.state[row], frame.state)
                np.testing.assert_array_equal(shown.avail[row], frame.avail)
                assert shown.reward[row] == np.float32(frame.reward if t <= 3 else 0)
                assert (shown.terminated[row], shown.truncated[row]) == (False, t >= 3)
            assert (shown.time == t).all() and not shown.lost.any() if t <= 3 else True
            shape = (lanes, 2, 1) if continuous else (lanes, 2)
            actions = rng.uniform(-2, 3, shape).astype(np.float32) if continuous else rng.integers(3, size=shape)
            actions = actions.astype(np.float32 if continuous else np.int32)
            shown = stepped(pool, number, shown, actions)
            if t < 3:
                frames = [env.step(a) for env, a in zip(alone, actions, strict=True)]
    assert pool.restarts == 0


@pytest.mark.slow
def test_batches_are_apart(opened) -> None:
    """Two shares of a batch, as two devices have them, and a third batch for which the oldest gives up its lanes."""
    pool = opened(4, 2)
    first, shown1 = pool.reset(seeds(1, 2))
    second, shown2 = pool.reset(seeds(3, 4))
    shown1 = stepped(pool, first, shown1, np.ones((2, 2), np.int32))
    shown2 = stepped(pool, second, shown2, np.zeros((2, 2), np.int32))
    assert shown1.obs[:, 0, 2].tolist() == [1, 2] and shown1.reward.tolist() == [1, 1]
    assert shown2.obs[:, 0, 2].tolist() == [3, 4] and shown2.reward.tolist() == [0, 0]
    third, _ = pool.reset(seeds(5, 6, 7))
    assert len({first[0], second[0], third[0]}) == 3
    with pytest.raises(ValueError, match="these episodes were let go of"):  # Nobody plays them any more.
        stepped(pool, first, shown1, np.ones((2, 2), np.int32))
    with pytest.raises(ValueError, match="5 episodes at once, but `env` python:hosted_games.count has 4"):
        pool.reset(seeds(1, 2, 3, 4, 5))


def test_it_cannot_go_back(opened) -> None:
    pool = opened(2, 1)
    number, shown = pool.reset(seeds(1, 2))
    stepped(pool, number, shown, np.ones((2, 2), np.int32))
    with pytest.raises(ValueError, match="`env` python:hosted_games.count was stepped twice from one state"):
        stepped(pool, number, shown, np.ones((2, 2), np.int32))


@pytest.mark.slow
@pytest.mark.parametrize(("then", "fellows"), [("raise", False), ("die", True), ("hang", True)])
def test_an_episode_that_fails_is_lost_and_no_other(opened, tmp_path: pathlib.Path, then: str, fellows: bool) -> None:
    """But for those that the same process played, where it is the process that fails."""
    once = str(tmp_path / "once")
    pool = opened(4, 2, seconds=1.5 if then == "hang" else 20.0, at=2, then=then, every=7, once=once)
    number, shown = pool.reset(seeds(1, 7, 3, 4))
    for _ in range(2):
        shown = stepped(pool, number, shown, np.ones((4, 2), np.int32))
    assert shown.lost.tolist() == [False, True, False, fellows]
    assert shown.truncated.tolist() == shown.lost.tolist() and not shown.terminated.any()
    assert shown.reward.tolist() == [1, 0, 1, 0 if fellows else 1]
    for _ in range(3):
        shown = stepped(pool, number, shown, np.ones((4, 2), np.int32))
    assert shown.terminated.tolist() == [not lost for lost in shown.lost]
    assert pool.restarts == 1
    number, shown = pool.reset(seeds(1, 7, 3, 4))
    for _ in range(5):
        shown = stepped(pool, number, shown, np.ones((4, 2), np.int32))
    assert shown.terminated.all() and not shown.lost.any()


@pytest.mark.slow
@pytest.mark.parametrize("then", ["raise", "die"])
def test_failures_without_end_end_it(opened, then: str) -> None:
    """In `reset`, which is tried again, and within one line that says what the environment said."""
    pool = opened(2, 1, at=0, then=then)
    _, shown = pool.reset(seeds(1, 2))
    assert shown.lost.all() and shown.truncated.all()
    said = "RuntimeError: the game is gone" if then == "raise" else "exit code 3, after printing: segmentation fault"
    with pytest.raises(RunError, match=rf"^`env` python:hosted_games.count failed 3 times in a row, .*{said}.*$"):
        pool.check()
    number, shown = pool.reset(seeds(1, 2))
    assert shown.lost.all() and stepped(pool, number, shown, np.ones((2, 2), np.int32)).lost.all()


@pytest.mark.slow
def test_failures_between_good_episodes_are_borne(opened) -> None:
    """Four of them, where two in a row are: what counts is that something ended well between them."""
    pool = opened(1, 1, at=2, then="raise", every=2)
    for _ in range(4):
        for seed in (2, 3):
            number, shown = pool.reset(seeds(seed))
            while not (shown.terminated | shown.truncated).all():
                shown = stepped(pool, number, shown, np.ones((1, 2), np.int32))
            assert shown.lost.tolist() == [seed == 2]
    assert pool.restarts == 4
    pool.check()


def test_a_contract_broken_ends_it_at_once(opened) -> None:
    pool = opened(2, 1, at=1, then="break", every=2)
    number, shown = pool.reset(seeds(1, 2))
    shown = stepped(pool, number, shown, np.ones((2, 2), np.int32))
    assert shown.lost.all()
    with pytest.raises(UsageError, match="^`env` python:hosted_games.count does not keep its contract: agent_0 shows"):
        pool.check()


@pytest.mark.slow
def test_a_contract_broken_when_started_anew(opened, tmp_path: pathlib.Path) -> None:
    pool = opened(1, 1, name="spoiled", once=str(tmp_path / "once"))
    number, shown = pool.reset(seeds(1))
    assert stepped(pool, number, shown, np.ones((1, 2), np.int32)).lost.all()
    assert pool.reset(seeds(1))[1].lost.all()
    with pytest.raises(UsageError, match="hosted_games.spoiled does not keep its contract: agent_1 has no available"):
        pool.check()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refused", "`env-options` speak of colours; choose from none"),
        ("missing", "cannot be started: RuntimeError: no display .*hosted_games.py"),
        ("absent", "cannot be started: AttributeError: .*absent"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_line(opened, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(name=name)


@pytest.mark.slow
def test_workers_end_with_whom_they_work_for(opened, tmp_path: pathlib.Path) -> None:
    """Also one that hangs."""
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, numpy as np\n"
        "from seca.envs.hosted.lanes import Recipe\n"
        "from seca.envs.hosted.pool import Hosting, Pool\n"
        "pool = Pool(Recipe('python', 'hosted_games.count', (('at', 0), ('then', 'hang'))), Hosting(1, 1))\n"
        "print(pool._seats[0].worker._process.pid, flush=True)\n"
        "pool.reset(np.zeros(1, np.int32))\n"
    )
    home = pathlib.Path(__file__).parents[2]
    path = os.pathsep.join([str(home), str(home.parent)])
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        time.sleep(1.0)
        process.kill()
    until = time.monotonic() + 20
    while pathlib.Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until
        time.sleep(0.1)


class Played:
    """A worker without a process: it plays when it is listened to, after what a test has it do."""

    def __init__(self, recipe: Recipe, before: Callable[["Played", str, list[int]], None]) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._make, self._before = lambda: kinds.make(recipe), before

    def describe(self, seconds: float) -> tuple:
        env = self._make()
        return env.spec, env.wins

    def make_room(self, spec, lanes: int, seconds: float) -> None:
        of = blocks.layout(spec, lanes)
        self.arrays = blocks.views(bytearray(blocks.size(of)), of)
        self._lanes = Lanes(self._make, self._make(), self.arrays)

    def ask(self, asked: Asked, lanes) -> None:
        self._asked: tuple[Asked, list[int]] = (asked, list(lanes))

    def answer(self, seconds: float) -> Reply:
        self._before(self, *self._asked)
        return self._lanes.do(*self._asked)

    def dismiss(self) -> None:
        pass

    def close(self) -> None:
        pass


def with_played(lanes: int, workers: int, before: Callable = lambda *_: None, restarts: int = 2, **options) -> Pool:
    recipe = Recipe("python", "hosted_games.count", tuple(sorted(options.items())))
    return Pool(recipe, Hosting(lanes, workers, 20.0, restarts, launch=lambda recipe: Played(recipe, before)))


def in_threads(*calls: Callable[[], object]) -> list:
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as threads:
        return [one.result(60) for one in [threads.submit(call) for call in calls]]


def whole(pool: Pool, *given: int) -> Shown:
    """Episodes with those seeds, to their end."""
    number, shown = pool.reset(seeds(*given))
    while not (shown.terminated | shown.truncated).all():
        shown = stepped(pool, number, shown, np.ones((len(given), 2), np.int32))
    return shown


@pytest.mark.parametrize(("shares", "workers"), [(11, 3), (16, 1), (3, 6)])
def test_shares_of_many_devices(shares: int, workers: int) -> None:
    """More of them than batches that are remembered once they are over; each has its own episodes."""
    pool = with_played(2 * shares, workers, length=4)
    for _ in range(2):
        played = in_threads(*(functools.partial(whole, pool, 2 * share, 2 * share + 1) for share in range(shares)))
        for share, shown in enumerate(played):
            assert shown.terminated.all() and shown.obs[:, 0, 2].tolist() == [2 * share, 2 * share + 1]
    pool.check()


def test_shares_wait_for_their_own_workers_only() -> None:
    """One waits for its worker all the while that another plays an episode."""
    other_done, begun = threading.Event(), threading.Event()

    def before(worker: Played, asked: str, lanes: list[int]) -> None:
        if asked == "step" and worker.arrays["seeds"][0] == 7:
            begun.set()
            assert other_done.wait(60)

    pool = with_played(2, 2, before)

    def other() -> Shown:
        assert begun.wait(60)
        shown = whole(pool, 8)
        other_done.set()
        return shown

    first, second = in_threads(lambda: whole(pool, 7), other)
    assert first.terminated.all() and second.terminated.all()


def test_a_worker_that_another_share_loses() -> None:
    """What it played of this one is lost with it; what was being begun begins again."""

    def before(worker: Played, asked: str, lanes: list[int]) -> None:
        if asked == "step" and worker.arrays["seeds"][lanes[0]] == 13:
            raise Lost("it died")
        if asked == "reset" and worker.arrays["seeds"][lanes[0]] == 20 and not seen:
            seen.append(20)  # While these are begun, the first of the three shares has its worker die.
            in_threads(lambda: stepped(pool, first, shown1, np.ones((1, 2), np.int32)))

    seen: list[int] = []
    pool = with_played(5, 2, before)
    first, shown1 = pool.reset(seeds(13))  # Lane 0, of worker 0.
    second, shown2 = pool.reset(seeds(14, 15))  # Lanes 1 and 2, of both.
    third, shown3 = pool.reset(seeds(20))  # Lane 3, of worker 1.
    assert pool.restarts == 1 and not shown3.lost.any() and shown3.obs[0, 0, 2] == 20
    shown2 = stepped(pool, second, shown2, np.ones((2, 2), np.int32))
    assert shown2.lost.tolist() == [False, True] and shown2.truncated.tolist() == [False, True]
    assert whole(pool, 15, 16, 17).terminated.all()


def test_what_was_begun_already_begins_again() -> None:
    """One of a batch has to be begun twice; between the two another share loses the worker that has the rest."""

    def before(worker: Played, asked: str, lanes: list[int]) -> None:
        if asked == "step":
            raise Lost("it died")
        if asked == "reset" and worker.arrays["seeds"][lanes[0]] == 21 and not seen:
            seen.append(21)
            raise Lost("it died as it began")
        if asked == "reset" and worker.arrays["seeds"][lanes[0]] == 21 and len(seen) == 1:
            seen.append(21)
            in_threads(lambda: stepped(pool, first, shown1, np.ones((1, 2), np.int32)))

    seen: list[int] = []
    pool = with_played(3, 2, before)
    first, shown1 = pool.reset(seeds(13))
    number, shown = pool.reset(seeds(21, 22))  # Lanes 1 and 2: of worker 1, and of worker 0 beside the first.
    assert seen == [21, 21] and pool.restarts == 2
    assert shown.obs[:, 0, 2].tolist() == [21, 22] and not shown.lost.any()


def test_environments_that_fail_together_are_one_failure() -> None:
    """Eight of a worker, more than the failures that are borne in a row."""
    pool = with_played(8, 1, at=2, then="raise", every=2)
    assert whole(pool, *[2] * 8).lost.all() and pool.restarts == 8
    assert whole(pool, *[3] * 8).terminated.all()
    pool.check()


@pytest.mark.parametrize(("refusals", "goes_on"), [(1, True), (9, False)])
def test_a_system_that_starts_no_process(monkeypatch: pytest.MonkeyPatch, refusals: int, goes_on: bool) -> None:
    monkeypatch.setattr("seca.envs.hosted.pool.LAUNCH_AGAIN", 0.0)
    launched: list[Recipe] = []

    def launch(recipe: Recipe) -> Played:
        launched.append(recipe)
        if 1 < len(launched) < 2 + refusals:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return Played(recipe, die)

    def die(worker: Played, asked: str, lanes: list[int]) -> None:
        if len(launched) == 1 and asked == "step":
            raise Lost("it died")

    pool = Pool(Recipe("python", "hosted_games.count"), Hosting(1, 1, restarts=3, launch=launch))
    assert whole(pool, 1).lost.all()
    assert whole(pool, 1).lost.tolist() == [not goes_on]
    if not goes_on:
        with pytest.raises(
            RunError, match="4 times in a row, the last time: it cannot be started: BlockingIOError: .*"
        ):
            pool.check()


def test_a_fault_of_ours_ends_it_in_a_line() -> None:
    """It must not leave the call: other devices would wait for this one for ever."""

    def before(worker: Played, asked: str, lanes: list[int]) -> None:
        if asked == "step":
            raise MemoryError("no room")

    pool = with_played(1, 1, before)
    assert whole(pool, 1).lost.all() and whole(pool, 1).lost.all()
    with pytest.raises(RunError, match="^`env` python:hosted_games.count cannot be played: MemoryError: no room .*$"):
        pool.check()


@pytest.mark.slow
def test_patience_is_for_each_step(opened) -> None:
    """Not for all of a worker's environments together."""
    pool = opened(6, 1, seconds=1.5, at=1, then="wait")
    number, shown = pool.reset(seeds(*range(6)))
    began = time.monotonic()
    shown = stepped(pool, number, shown, np.ones((6, 2), np.int32))
    assert time.monotonic() - began > 1.5 and not shown.lost.any()
