"""The pages for users: every example of `docs/extend.md` does what it says; `docs/choose.md` knows all presets."""

import dataclasses
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.algos.mixing import TransformedMixing, WeightedMixing
from seca.algos.q_learning import QLearningConfig, q_learning
from seca.algos.seca import SecaConfig, seca
from seca.credit.base import Credit
from seca.envs.registry import make
from seca.nets.mixers import Choice, FreeMixer
from seca.order.base import Order
from seca.presets import PRESETS, compared
from seca.train.iterate import make_iterate
from seca.train.state import init_state

pytestmark = pytest.mark.slow

DOCS = pathlib.Path(__file__).parent.parent / "docs"
EXTEND, CHOOSE = ((DOCS / name).read_text() for name in ("extend.md", "choose.md"))


def _examples() -> dict[str, str]:
    """Heading -> its example; a heading with two would lose one, so they are counted."""
    sections = re.split(r"^## ", EXTEND, flags=re.MULTILINE)[1:]
    found = {part.splitlines()[0]: re.findall(r"```python\n(.*?)```", part, flags=re.DOTALL) for part in sections}
    assert all(len(blocks) <= 1 for blocks in found.values())
    return {heading: blocks[0] for heading, blocks in found.items() if blocks}


EXAMPLES = _examples()


def run(heading: str) -> dict[str, Any]:
    """The names that an example leaves behind."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(EXAMPLES[heading], f"docs/extend.md: {heading}", "exec"), names)
    return names


def test_examples_are_short_and_complete() -> None:
    assert list(EXAMPLES) == ["An environment", "A credit", "An order", "A mixer", "An algorithm"]
    assert len(re.findall("```python", EXTEND)) == len(EXAMPLES)
    for heading, example in EXAMPLES.items():
        assert len(example.splitlines()) < 30, heading
        assert max(map(len, example.splitlines())) <= 120, heading


@pytest.mark.slow
def test_the_environment_is_learned(capsys: pytest.CaptureFixture[str]) -> None:
    """Any two cells are at most two steps apart: one step that costs 0.1, one that pays 1, when played at its best."""
    run("An environment")
    assert float(capsys.readouterr().out.removeprefix("return: ")) >= 0.8


def test_the_environment_keeps_the_contract(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name on the command line: pure, never resetting, cut at its limit, each episode from its own key."""
    (tmp_path / "my_envs.py").write_text(EXAMPLES["An environment"])
    monkeypatch.syspath_prepend(tmp_path)
    env = make("python:my_envs.meet")
    keys = jax.random.split(jax.random.key(3), 32)
    start, first = env.reset(keys)
    _, fewer = env.reset(keys[:4])
    np.testing.assert_array_equal(np.asarray(fewer.obs), np.asarray(first.obs)[:4])
    assert not np.asarray(first.done).any()
    apart, stay = start, jnp.ones((32, 2), jnp.int32)
    for t in range(env.spec.episode_limit):
        apart, now = env.step(apart, stay)
        assert (np.asarray(now.truncated) == (t == env.spec.episode_limit - 1)).all()
        np.testing.assert_allclose(np.asarray(now.reward), -0.1, rtol=1e-6)
    towards = jnp.where(start[0] < start[0][:, ::-1], 2, 0)
    met, now = env.step(start, towards)
    np.testing.assert_array_equal(np.asarray(now.terminated), np.abs(np.diff(np.asarray(start[0]))[:, 0]) == 2)
    after, still = env.step(met, towards)
    over = np.asarray(now.done)
    np.testing.assert_array_equal(np.asarray(after[0])[over], np.asarray(met[0])[over])
    assert (np.asarray(still.reward)[over] == 0).all() and np.asarray(still.terminated)[over].all()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("python:nowhere.meet", {}, "nowhere"),
        ("python:meet", {}, "python:MODULE.FUNCTION"),
        ("python:seca.types.nothing", {}, "nothing"),
        ("python:seca.envs.matrix.make", {"games": 2}, "`env-options` do not fit"),
        ("python:platform.machine", {}, "returns str"),
    ],
)
def test_environments_that_are_none_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        make(name, options)
    assert "\n" not in str(refused.value)


def test_environments_by_import_take_options() -> None:
    assert make("python:seca.envs.matrix.make", {"name": "additive"}).spec == make("matrix/additive").spec


@pytest.mark.every
def test_the_credit_sums_to_the_advantage_of_the_team() -> None:
    """Q(u) - Q(pi), and, with two agents and both orders, it is the Shapley value."""
    names = run("A credit")
    payoff, probs, credit = (np.asarray(names[name]) for name in ("payoff", "probs", "credit"))
    without, alone = probs[0] @ payoff @ probs[1], (payoff[0] @ probs[1], probs[0] @ payoff[:, 0])
    np.testing.assert_allclose(credit.sum(), payoff[0, 0] - without, rtol=1e-6)
    shapley = [(alone[i] - without + payoff[0, 0] - alone[1 - i]) / 2 for i in range(2)]
    np.testing.assert_allclose(credit, shapley, rtol=1e-5)
    assert float(names["metrics"]["win_rate"]) > 0.9
    assert "rank_mean" in names["metrics"]


@pytest.mark.every
def test_the_order_is_one_and_finds_who_matters() -> None:
    names = run("An order")
    np.testing.assert_allclose(np.asarray(names["metrics"]["rank_mean"]), [2, 1, 0], atol=0.1)
    assert "contribution_mean" not in names["metrics"]  # Of integrated gradients, which this order does without.


@pytest.mark.every
def test_the_mixer_is_monotone_and_learns() -> None:
    names = run("A mixer")
    mixer = names["state"].learner.networks.params.mixers.main
    choice = Choice(jnp.zeros(3), jnp.zeros(3), jnp.zeros((3, 3)))
    slope = jax.grad(lambda q: mixer(jnp.ones(1), dataclasses.replace(choice, q=q)))(choice.q)
    assert (np.asarray(slope) > 0).all()
    target = names["state"].learner.networks.target.mixers.main
    assert jax.tree.structure(target) == jax.tree.structure(mixer)
    assert names["make_evaluate"](names["env"], names["algorithm"], 1, names["devices"])(names["state"])["return"] == 3


def test_the_algorithm_learns() -> None:
    assert float(run("An algorithm")["metrics"]["return_mean"]) > 2.8


@pytest.mark.slow
def test_the_algorithm_learns_the_same_on_two_devices() -> None:
    names = run("An algorithm")
    both = make_iterate(names["env"], names["algorithm"], 32, jax.devices()[:2])
    state = alone = init_state(names["algorithm"], 0)
    for _ in range(3):
        state, _ = both(state)
        alone, _ = names["iterate"](alone)
    np.testing.assert_allclose(np.asarray(state.learner), np.asarray(alone.learner), atol=1e-6)


def test_a_mixer_takes_the_place_of_the_one_named() -> None:
    """Weighted QMIX keeps its central value; QTRAN has no mixer to replace."""
    spec = make("matrix/additive").spec
    names: dict[str, Any] = {}
    exec(EXAMPLES["A mixer"].partition("env, devices")[0], names)
    weighted, transformed = QLearningConfig(mixing=WeightedMixing()), QLearningConfig(mixing=TransformedMixing())
    algorithm = q_learning("mine", spec, weighted, names["weighted_sum"])
    mixers = jax.eval_shape(algorithm.init, jax.random.key(0)).networks.params.mixers
    assert isinstance(mixers.main, names["WeightedSum"]) and isinstance(mixers.central, FreeMixer)
    with pytest.raises(ValueError, match="make_mixer"):
        q_learning("mine", spec, transformed, names["weighted_sum"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"credit": Credit("one", lambda q_fn, probs, action, order, key: q_fn(probs))},
            r"`credit` returns shape \[\]",
        ),
        (
            {"order": Order("short", lambda critic, episode, probs, key, state: jnp.arange(3))},
            r"`order` returns int32\[3\]",
        ),
        (
            {"order": Order("real", lambda critic, episode, probs, key, state: probs[:-1, :, 0])},
            r"`order` returns float32\[1, 3\]",
        ),
    ],
    ids=["credit", "order-shape", "order-dtype"],
)
def test_functions_of_another_shape_are_refused(given: dict[str, Any], words: str) -> None:
    env = make("matrix/additive")
    algorithm = seca("mine", env.spec, SecaConfig(), **given)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(make_iterate(env, algorithm, 4, jax.devices()[:1]), init_state(algorithm, 0))


def test_the_table_of_presets_names_all_and_no_other() -> None:
    rows = [line for line in CHOOSE.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert (
        [name for name in PRESETS if compared(name) and name not in named]
        == []
        == [x for x in named if x not in PRESETS]
    )
    assert len(set(named)) == len(named)
    for row in rows:
        kinds = {PRESETS[name].group for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
        assert kinds == {row.split("|")[2].strip()}
        assert all(cell.strip() for cell in row.split("|")[1:-1])


def test_choose_names_presets_only() -> None:
    """Outside of the table, too, what looks like the name of a preset is one."""
    said = set(re.findall(r"`((?:seca|coma|cw|ow|riit)-[a-z0-9-]+)`", CHOOSE))
    assert said <= set(PRESETS)
