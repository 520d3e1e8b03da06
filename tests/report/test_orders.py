"""Orders over training: means against plain loops, correlations against known ones, and a run from end to end."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from conftest import Seca
from tiers import cases

from seca.envs import registry
from seca.errors import UsageError
from seca.report import orders
from seca.report.orders import Evaluated, Evolution, Moment
from seca.runs import folder as folders

BATCH, TIME, AGENTS = 5, 11, 3
LENGTHS = (11, 7, 2, 1, 10)  # Shorter than four steps: quarters without any.


@pytest.fixture
def drawn() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    valid = np.arange(TIME) < np.array(LENGTHS)[:, None]
    lives = np.cumprod(random.random((BATCH, TIME + 1, AGENTS)) > 0.1, axis=1).astype(bool)
    return {
        "valid": valid,
        "order": random.permuted(np.broadcast_to(np.arange(AGENTS), (BATCH, TIME, AGENTS)), axis=-1),
        "contribution": random.normal(size=(BATCH, TIME, AGENTS)) * valid[..., None],
        "lives": lives,
        "health": random.random((BATCH, TIME + 1, AGENTS)) * lives,
        "won": random.random(BATCH) > 0.5,
        "returns": random.random(BATCH),
    }


def test_means_are_those_of_plain_loops(drawn: dict[str, np.ndarray]) -> None:
    """Whatever stands in the padding."""
    padding = ~drawn["valid"][..., None]
    drawn["order"] = np.where(padding, np.array([2, 0, 1]), drawn["order"])
    found = orders.moment(70, **drawn)
    places, whole = np.zeros(AGENTS), np.zeros((BATCH, AGENTS))
    parts = np.zeros((BATCH, 4, AGENTS))
    ranks: list[list[list[float]]] = [[[] for _ in range(AGENTS)] for _ in range(4)]
    alive, health = np.zeros((4, AGENTS)), np.zeros((4, AGENTS))
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            for place, agent in enumerate(drawn["order"][b, t]):
                places[agent] += place / sum(LENGTHS)
            parts[b, 4 * t // length] += drawn["contribution"][b, t]
            whole[b] += drawn["contribution"][b, t]
        for q in range(4):
            before = next((t for t in range(length) if 4 * t // length >= q), length)
            living = [agent for agent in range(AGENTS) if drawn["lives"][b, before, agent]]
            for agent in living:
                mine, others = parts[b, q, agent], [parts[b, q, other] for other in living if other != agent]
                ranks[q][agent].append(sum(x > mine for x in others) + sum(x == mine for x in others) / 2)
            after = next((t for t in range(length) if 4 * t // length > q), length)
            alive[q] += drawn["lives"][b, after] / BATCH
            health[q] += drawn["health"][b, after] / BATCH
    expected = {
        "rank": places,
        "contribution": whole.mean(axis=0),
        "rank_by_quarter": [[np.mean(each) for each in row] for row in ranks],
        "contribution_by_quarter": parts.mean(axis=0),
        "alive": alive,
        "health": health,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(found, name), values, atol=2e-6, err_msg=name)
    lived = drawn["lives"].copy()
    drawn["lives"][:, 6:, 1] = False
    drawn["lives"][:, :, 2] = False
    fallen = orders.moment(70, **drawn).rank_by_quarter
    assert [row[2] for row in fallen] == [None] * 4 and fallen[0][1] is not None
    assert (found.env_steps, found.win_rate) == (70, drawn["won"].mean())
    assert found.return_mean == pytest.approx(drawn["returns"].mean())
    for name, given in (("survival", lived), ("health", drawn["health"])):
        means = np.array([given[b, :length].mean(axis=0) for b, length in enumerate(LENGTHS)])
        assert found.agreement[name] == orders.agreement(whole, means)


def test_agreement_is_spearmans() -> None:
    rising = np.array([[0.0, 1.0, 2.0, 9.0]])
    assert orders.agreement(rising, rising**3) == pytest.approx(1.0)
    assert orders.agreement(rising, -rising) == pytest.approx(-1.0)
    # 1 - 6 sum d^2 / (n (n^2 - 1)), d = (0, 1, 1, 0).
    assert orders.agreement(rising, np.array([[0.0, 2.0, 1.0, 9.0]])) == pytest.approx(0.8)
    # Equals share a rank: Pearson's correlation of (0, 1, 2, 3) and (0, 1.5, 1.5, 3).
    tied = np.corrcoef([0, 1, 2, 3], [0, 1.5, 1.5, 3])[0, 1]
    assert orders.agreement(rising, np.array([[0.0, 5.0, 5.0, 9.0]])) == pytest.approx(tied)
    nothing = np.ones((1, 4))
    assert orders.agreement(rising, nothing) is None
    assert orders.agreement(np.vstack([rising, rising]), np.vstack([nothing, rising])) == pytest.approx(1.0)


@pytest.mark.parametrize("name", cases(["2s3z", "3m", "MMM2"], "2s3z"))
def test_the_state_tells_who_lives_and_how_well(name: str) -> None:
    """With and without shields, and flying: as the simulator has it."""
    env = registry.make(f"smac/{name}", {})
    battle, shown = env.reset(jax.random.split(jax.random.key(0), 3))
    step = jax.jit(env.step)
    for _ in range(30):
        last = shown.avail.shape[-1] - 1 - jax.numpy.argmax(shown.avail[..., ::-1], axis=-1)
        east = (last < 6) & shown.avail[..., 4]  # Nobody to shoot at: to where the enemy is.
        battle, shown = step(battle, jax.numpy.where(east, 4, last))
    assert env.simulator is not None
    field, units = env.simulator.battlefield, battle.units
    a = field.n_agents
    lives, health = orders.condition(np.asarray(shown.state), field)
    body = np.asarray(units.health + units.shield)[:a].T
    np.testing.assert_allclose(health, body / (field.health_max + field.shield_max)[:a].reshape(-1), atol=1e-6)
    assert (lives == np.asarray(units.health > 0)[:a].T).all()
    assert health.min() < 1


def evolution(moments: int = 6) -> Evolution:
    def one(number: int) -> Moment:
        table = [[0.1 * number, 1.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
        places: list[list[float | None]] = [[0.1 * number, 1.0], [1.0, 0.0], [0.5, 0.5], [0.0, None]]
        agreed = {"survival": None if number == 2 else 0.3, "health": -0.2}
        return Moment(10 * number, 0.5, 7.0, [0.0, 1.0], [0.2, -0.1], places, table, table, table, agreed)

    return Evolution("a", "seca", "smac/2m", 3, ["marine", "marine"], 8, [one(number) for number in range(moments)], [])


def test_drawn_with_what_a_reader_must_know() -> None:
    found = evolution()
    told = orders.caption(found, "Fig. 5: orders", ["only half"])
    for words in (
        "Fig. 5: orders",
        "seca on smac/2m",
        "seed 3",
        "6 policies",
        "about every 10 env",
        "8 sampled",
        "half",
    ):
        assert words in told
    assert [one.env_steps for one in orders.chosen_moments(found.moments)] == [0, 20, 30, 50]
    figure = orders.draw(found, "Fig. 5: orders")
    drawn = {axes.get_title() for axes in figure.axes}
    assert "after 50 env steps, 50 % won\nplace by quarter" in drawn
    assert len(figure.axes) == 14
    assert len(orders.draw(evolution(1), "one policy").axes) == 8


@pytest.mark.every
@pytest.mark.slow
def test_a_run_from_end_to_end(seca: Seca, tmp_path: pathlib.Path, finished_run: pathlib.Path) -> None:
    """Snapshots and the last policy; the same again; and a run that kept none is refused."""
    run = tmp_path / "run"
    words = ["--env", "smac/3m", "--runners", "2", "--steps", "250", "--snapshot-interval", "80", "--devices", "1"]
    ended = seca("train", "seca", *words, "--eval-interval", "1000", "--eval-episodes", "2", "--out", run)
    assert ended.returncode == 0, ended.stderr
    told: list[tuple[float, int]] = []
    found = orders.measure(run, 3, lambda share, count: told.append((share, count)))
    steps = [one.env_steps for one in found.moments]
    assert steps[0] == 0 and len(steps) == len(set(steps)) >= 4 and steps[-1] >= 250
    assert told[-1] == (1.0, len(steps))
    assert found.units == ["marine"] * 3
    for one in found.moments:
        assert sum(one.rank) == pytest.approx(3.0, abs=1e-5)
        np.testing.assert_allclose(np.sum(one.contribution_by_quarter, axis=0), one.contribution, atol=1e-5)
        assert np.abs(one.contribution).max() > 0
    read = json.loads(orders.as_json(found))
    lists = {
        "moments": [Moment(**x) for x in read["moments"]],
        "evaluated": [Evaluated(**x) for x in read["evaluated"]],
    }
    assert Evolution(**read | lists) == found
    assert [one.env_steps for one in found.evaluated] == [0, steps[-1]] and found.env.startswith(
        "smac/3m version smac-"
    )
    again = orders.measure(run, 3)
    assert again == dataclasses.replace(found)
    with pytest.raises(UsageError, match="it kept no policies on the way"):
        orders.measure(finished_run)


def test_refuses_what_orders_nobody(copied_run: pathlib.Path) -> None:
    """A method without an order by contribution, an environment that does not say how its agents are."""
    folder = folders.existing(copied_run)
    next(folder.checkpoints.glob("latest-*")).rename(folder.checkpoints / "snapshot-000000000")
    with pytest.raises(UsageError, match="matrix/focus-fire does not say in its state how its agents are"):
        orders.measure(copied_run)
    config = json.loads(folder.config.read_text())
    config["algorithm"]["order"] = "fixed"
    folder.config.write_text(json.dumps(config))
    with pytest.raises(UsageError, match="orders no agents by their contributions"):
        orders.measure(copied_run)
