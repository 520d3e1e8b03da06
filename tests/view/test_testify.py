"""What is told of an episode: that of training's own programs, every method in one form, and truth that is true."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import forking
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import views
from tiers import cases

from seca.battles.play import of_run, play, player
from seca.config import RunConfig
from seca.presets import PRESETS
from seca.runs import stats
from seca.runs.folder import RunFolder
from seca.runs.load import LoadedRun, build_run
from seca.train.rollout import collect
from seca.train.state import init_state
from seca.view import account as accounts
from seca.view import page, testify
from seca.view.testify import Asked

SMALL = {"agent_hidden": 8, "actor_hidden": 8, "critic_hidden": 8, "critic_embed": 8, "hidden": 8, "fork_lanes": 8}
KINDS = {
    **dict.fromkeys(("seca", "seca-fork"), "sequential"),
    **dict.fromkeys(("coma", "coma-newarchi"), "counterfactual"),
    **dict.fromkeys(("indadv", "lica", "riit", "qmix"), "independent"),
    **dict.fromkeys(("seca-shapley", "scc"), "shapley"),
    **dict.fromkeys(("mappo", "ippo", "ia2c", "vdac"), "shared"),
}


@functools.cache
def untrained(preset: str, env: str = "matrix/peak", **options: Any) -> LoadedRun:
    """A run that has not begun, with small networks."""
    config: Any = PRESETS[preset].config
    names = {field.name for field in dataclasses.fields(config)}
    changes = {name: size for name, size in SMALL.items() if name in names}
    algorithm = dataclasses.replace(config, **changes)
    built = build_run(RunConfig(preset=preset, env=env, env_options=options, algorithm=algorithm))
    return LoadedRun(built, init_state(built.algorithm, 0))


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(KINDS, "seca", "seca-fork", "qmix", "mappo"))
def test_every_method_in_one_form(name: str, tmp_path: pathlib.Path) -> None:
    """A credit of each agent and step, policies that are none where nothing can be chosen; written, read, and shown."""
    run = untrained(name)
    found = testify.view(run, "run-s0", Asked(battle=1, truth=1, forks=5))
    account = found.account
    assert (account.kind, account.method) == (KINDS[name], name)
    assert account.credit.shape == found.picture.actions.shape and np.isfinite(account.credit).all()
    assert account.says and "\n" not in account.says
    assert account.policy is not None
    np.testing.assert_allclose(account.policy.sum(axis=-1), 1, atol=1e-5)
    assert (account.order is not None) == (account.kind == "sequential")
    assert account.truth is not None and account.truth.shape == (1, run.env.spec.n_agents)
    accounts.save(found, tmp_path / "x.npz")
    assert page.page([accounts.load(tmp_path / "x.npz")]) == page.page([found])


@pytest.mark.slow
def test_it_is_told_of_the_episode_that_training_would_see() -> None:
    """Sampled, battle 1 is row 1 of a batch that is collected with the seed's keys, and judged with that batch."""
    run = untrained("seca", "smac/3m")
    found = testify.view(run, "run-s0", Asked(seed=5, battle=1, sampled=True))
    account, claims, state = found.account, run.algorithm.claims, run.state
    assert claims is not None and account.order is not None and account.value is not None
    keys = jax.vmap(functools.partial(jax.random.fold_in, stats.evaluation_key(5)))(jnp.arange(3))
    params = run.algorithm.policy(state.learner)
    episodes, _ = jax.jit(functools.partial(collect, run.env, run.algorithm))(params, keys, state.env_steps)
    claim = jax.jit(claims.fn)(state.learner, episodes, state.env_steps, jax.random.key(0))
    length = int(episodes.length[1])
    assert found.picture.n_steps == length
    np.testing.assert_array_equal(found.picture.actions, episodes.actions[1, :length])
    np.testing.assert_array_equal(account.order, claim.order[1, :length])
    for name in ("credit", "contribution", "signal", "policy", "value"):
        twin = np.asarray(getattr(claim, name))[1, :length]
        np.testing.assert_allclose(getattr(account, name), twin, atol=2e-5, err_msg=name)
    # The last step of a battle that the limit cut would see the closing action, which is drawn anew.
    before = length - 1 if episodes.truncated[1].any() else length
    assert account.error is not None
    np.testing.assert_allclose(account.error[:before], np.asarray(claim.team)[1, :before], atol=2e-4)
    greedy = testify.view(run, "run-s0", Asked(seed=5, battle=1))
    assert greedy.account.play == "greedy" and not np.array_equal(greedy.picture.actions, found.picture.actions)


@pytest.mark.slow
def test_truth_is_that_of_enumeration() -> None:
    """On the game of three steps, within its standard errors; of the steps of which the method says most."""
    base = untrained("seca")
    gamma: Any = dataclasses.replace(base.config.algorithm, gamma=forking.GAMMA)
    config = dataclasses.replace(base.config, algorithm=gamma)
    built = dataclasses.replace(base._built, env=forking.env(), algorithm=forking.algorithm(), config=config)
    run = LoadedRun(built, dataclasses.replace(base.state, learner=jnp.zeros(1)))
    z = []
    for battle in range(12):
        found = testify.view(run, "game", Asked(battle=battle, sampled=True, truth=2, forks=300))
        account, played = found.account, found.picture.actions
        assert account.truth is not None and account.truth_step is not None and account.truth_error is not None
        places = _places(run, battle)
        for row, step in enumerate(account.truth_step.tolist()):
            last = None if step == 0 else tuple(played[step - 1].tolist())
            worth = forking.worth(step, places[step], last, tuple(played[step].tolist()), (2, 0, 1))["sequential"]
            known = account.truth_error[row] > 0
            z += list(((account.truth[row] - worth) / account.truth_error[row])[known])
    assert len(z) > 40 and np.abs(z).max() < 4.5 and abs(np.mean(z)) < 4 / np.sqrt(len(z))


def _places(run: LoadedRun, battle: int) -> list[int]:
    played = play(player(run.env), of_run(run, "", False), 0, battle)
    return played.steps.state.argmax(axis=-1).tolist()


def test_most_is_said_where_credits_are_largest() -> None:
    picture = views.scene(n_agents=2, steps=7)
    credit = np.zeros((7, 2), np.float32)
    credit[5, 0], credit[2, 1], credit[6, 0] = -3, 2, 1
    account = views.account(picture, credit=credit)
    assert testify.most_said(account, 2).tolist() == [2, 5]
    assert testify.most_said(account, 100).tolist() == list(range(7))


@pytest.mark.parametrize("parts", [3, 7, 100])
def test_orders_are_means_over_parts(parts: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven updates in three parts, in as many, and in more than there are."""
    monkeypatch.setattr(testify, "PARTS", parts)
    places = np.random.default_rng(0).random((7, 2))
    lines = [
        {"kind": "train", "env_steps": 10 * i, "rank_mean": row.tolist(), "contribution_mean": (2 * row).tolist()}
        for i, row in enumerate(places)
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"kind": "eval", "env_steps": 0}, *lines]))
    found = testify.orders_of(RunFolder(tmp_path))
    assert found is not None and found.contribution is not None
    split = np.array_split(np.arange(7), min(parts, 7))
    assert found.env_steps == [10 * int(part[-1]) for part in split]
    np.testing.assert_allclose(found.place, [places[part].mean(axis=0) for part in split], rtol=1e-3)
    np.testing.assert_allclose(found.contribution, 2 * np.array(found.place), rtol=2e-3)
    path.write_text('{"kind": "train", "env_steps": 0}\n')
    assert testify.orders_of(RunFolder(tmp_path)) is None


def test_continuous_actions_are_told_but_not_forked() -> None:
    run = untrained("seca", "quadratic/apart")
    account = testify.view(run, "x", Asked()).account
    assert account.policy is not None and account.policy.shape[-1] == 2 * run.env.spec.n_actions
    with pytest.raises(ValueError, match="with continuous actions: an audit counts"):
        testify.view(run, "x", Asked(truth=1))
