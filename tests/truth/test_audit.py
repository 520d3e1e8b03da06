"""Audits against enumeration: the credits of a game of several steps, their errors, and what may be added to them."""

import dataclasses
import functools
import itertools
from typing import Any

import forking
import jax
import jax.experimental
import numpy as np
import pytest

from seca.config import from_preset
from seca.credit.base import KINDS
from seca.credit.sequential import SWEPT
from seca.envs.matrix import GAMES
from seca.envs.registry import make
from seca.learning.acting import acting_over
from seca.order.simple import FIXED, IDENTITY
from seca.presets import build
from seca.train.rollout import collect
from seca.train.state import init_state
from seca.truth.audit import Audit, audit, claims_of, has_luck
from seca.truth.rounds import EPISODES, Plan, round_keys


def exact(found: Audit) -> np.ndarray:
    """The enumerated credits `[steps, kinds, agents]`; the steps' histories are those of the episodes played again."""
    rows = []
    for number in range(len(found.battle)):
        t, place, last = int(found.time[number]), *_history(found, number)
        taken = tuple(int(a) for a in found.action[number])
        order = tuple(int(i) for i in found.order[number])
        worth = forking.worth(t, place, last, taken, order)
        rows.append([worth[kind] for kind in found.plan.kinds])
    return np.asarray(rows)


_PLAYED: dict[tuple[int, int], Any] = {}


@functools.cache
def _player() -> Any:
    run = forking.run()
    return jax.jit(lambda keys: collect(run.env, run.algorithm, run.state.learner, keys, run.state.env_steps)[0])


def _history(found: Audit, number: int) -> tuple[int, tuple[int, ...] | None]:
    """Where the step is taken, and what the agents did before it."""
    round_, episode = divmod(int(found.battle[number]), EPISODES)
    key = found.plan.seed, round_
    if key not in _PLAYED:
        keys = jax.random.split(round_keys(*key)[0], EPISODES)
        _PLAYED[key] = jax.device_get(_player()(keys))
    episodes, t = _PLAYED[key], int(found.time[number])
    assert (episodes.actions[episode, t] == found.action[number]).all()
    last = None if t == 0 else tuple(int(a) for a in episodes.actions[episode, t - 1])
    return int(episodes.state[episode, t].argmax()), last


def test_continuous_actions_are_refused() -> None:
    env = make("quadratic/apart")
    config = dataclasses.replace(from_preset("seca"), env="quadratic/apart")
    state = init_state(build("seca", env.spec, config.algorithm), 0)
    run = forking.Run(env, build("seca", env.spec, config.algorithm), state, config)
    with pytest.raises(ValueError, match="`run` is of quadratic/apart with continuous actions: an audit counts"):
        audit(run)


@pytest.mark.slow
def test_forks_agree_with_enumeration_and_intervals_cover() -> None:
    """In 1,010 independent steps 95 % intervals hold the enumerated credits of a kind in 93 to 97 % of cases."""
    found = forking.audited(steps=1010, forks=200)
    truth, mean, error = exact(found), found.sums.mean(), found.sums.error()
    assert set(found.time) == {0, 1, 2} and len(set(found.length)) > 1
    for kind, name in enumerate(KINDS):
        off = mean[:, kind] - truth[:, kind]
        z = off / error[:, kind]
        assert z.size > 1000
        covered = (np.abs(z) < 1.972).mean()  # Student's t with 199 degrees of freedom.
        assert 0.93 <= covered <= 0.97, (name, covered)
        assert abs(z.mean()) < 4 / np.sqrt(z.size), (name, z.mean())
        # Sharper than the mean of z, which is off by skewed returns: there a mean and its error go together.
        bias = off.sum(axis=0) / np.sqrt((error[:, kind] ** 2).sum(axis=0))
        assert (np.abs(bias) < 4).all(), (name, bias)
        assert np.sqrt((truth[:, kind] ** 2).mean()) > 5 * np.sqrt((error[:, kind] ** 2).mean())


@pytest.mark.every
@pytest.mark.parametrize(("steps", "forks"), [(20, 130), (70, 50), (131, 129)])
def test_more_can_be_added(steps: int, forks: int) -> None:
    """Sizes below and above the forks of a block (128) and the steps of a round (64)."""
    whole = forking.audited(steps=steps, forks=forks)
    begun = forking.audited(steps=20, forks=50)
    joined = audit(forking.run(), whole.plan, before=begun)
    np.testing.assert_array_equal(joined.sums.forks, forks)
    for field in ("battle", "time", "action"):
        np.testing.assert_array_equal(getattr(joined, field), getattr(whole, field))
    np.testing.assert_allclose(joined.sums.total, whole.sums.total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(joined.sums.squares, whole.sums.squares, rtol=1e-9, atol=1e-9)
    changed = dataclasses.replace(whole.plan, seed=3)
    with pytest.raises(ValueError, match="`seed` is 3 but"):
        audit(forking.run(), changed, before=begun)
    with pytest.raises(ValueError, match="`forks` is 10 but"):
        audit(forking.run(), dataclasses.replace(begun.plan, forks=10), before=begun)


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "parts"), [(63, []), (64, []), (65, [64]), (128, [64])])
def test_nothing_is_kept_of_the_whole(steps: int, parts: list[int]) -> None:
    """Below, at and above the steps of a round, and at two rounds."""
    kept: list[Audit] = []
    whole = audit(forking.run(), Plan(steps, 2, kinds=KINDS), keep=kept.append)
    assert [part.plan.steps for part in kept] == parts and len(whole.time) == steps


@pytest.mark.slow
def test_what_a_long_audit_keeps_on_the_way() -> None:
    kept: list[Audit] = []
    whole = audit(forking.run(), Plan(131, 20, kinds=KINDS), keep=kept.append)
    assert [part.plan.steps for part in kept] == [64, 128]
    for part in kept:
        at = part.plan.steps
        np.testing.assert_array_equal(part.sums.total, whole.sums.total[:at])
        np.testing.assert_array_equal(part.time, whole.time[:at])
        assert all(len(credit) == at for credit in part.credits.values()) and part.kind == whole.kind
    joined = audit(forking.run(), whole.plan, before=kept[1], keep=kept.append)
    assert len(kept) == 2
    np.testing.assert_array_equal(joined.sums.total, whole.sums.total)
    np.testing.assert_array_equal(joined.sums.forks, 20)


def test_an_environment_with_effects_is_refused() -> None:
    run = forking.run()

    def step(state: Any, actions: Any) -> Any:
        jax.experimental.io_callback(lambda: None, None)
        return forking.env().step(state, actions)

    run.env = dataclasses.replace(run.env, step=step)
    with pytest.raises(ValueError, match=r"`env` is test/game, which is no pure function \(IO"):
        audit(run, Plan(2, 2))


def test_luck_is_found() -> None:
    assert has_luck(forking.env()) and not has_luck(make("matrix/peak", {})) and has_luck(make("smac/3m", {}))


def test_who_has_nothing_to_audit() -> None:
    silent, said = forking.run(), forking.algorithm().claims
    assert said is not None
    for claims in (None, dataclasses.replace(said, kind=None)):
        silent.algorithm = dataclasses.replace(silent.algorithm, claims=claims)
        with pytest.raises(ValueError, match="`run` was trained with table, which judges the team alone"):
            claims_of(silent)
    with pytest.raises(ValueError, match="`order` is identity but table has no order"):
        claims_of(forking.run(), order=IDENTITY)
    with pytest.raises(ValueError, match="`credits` is swept but table has no order, and no critic"):
        claims_of(forking.run(), [SWEPT])


def made(preset: str, game: str = "additive", **changes: Any) -> Any:
    """An untrained run of a preset on a matrix game."""
    config = dataclasses.replace(from_preset(preset), env=f"matrix/{game}")
    config = dataclasses.replace(config, algorithm=dataclasses.replace(config.algorithm, **changes))
    env = make(f"matrix/{game}", {})
    algorithm = build(preset, env.spec, config.algorithm)
    return forking.Run(env, algorithm, init_state(algorithm, 3), config)


@pytest.mark.slow
def test_the_truth_is_in_the_order_of_the_credits() -> None:
    """Also where the run's own credit has none; and an order is refused where nobody asks for it."""
    run = made("coma-newarchi", order="random")
    found = audit(run, Plan(4, 2), [SWEPT])
    assert found.plan.kinds == ("counterfactual", "sequential") and found.about["order"] == "as trained"
    assert len(np.unique(found.order, axis=0)) > 1
    given = audit(run, Plan(4, 2), [SWEPT], IDENTITY)
    assert (given.order == [0, 1, 2]).all() and given.about["order"] == "identity"
    with pytest.raises(ValueError, match="`order` is identity but no credit of coma-newarchi depends on"):
        claims_of(run, order=IDENTITY)
    with pytest.raises(ValueError, match="`credits` holds 'nothing', which is taken"):
        claims_of(run, [dataclasses.replace(SWEPT, name="nothing")])


@pytest.mark.every
def test_a_fixed_order_is_one_order() -> None:
    """The run's own where it has one, in every round."""
    own = audit(made("seca-fixed"), Plan(70, 2))
    again = audit(made("seca-fixed"), Plan(70, 2), order=FIXED)
    other = audit(made("seca"), Plan(70, 2), order=FIXED)
    for found in (own, again, other):
        assert len(np.unique(found.order, axis=0)) == 1
    np.testing.assert_array_equal(own.order, again.order)


@pytest.mark.slow
def test_floors() -> None:
    """The signal only where it is more than the credit; the critic's error wherever there is one; nothing."""
    whole, alone = audit(made("seca"), Plan(6, 2)), audit(made("seca", td_correction=0.0), Plan(6, 2))
    assert list(whole.credits) == ["credit", "credit + team", "team alone", "nothing"]
    assert list(alone.credits) == ["credit", "team alone", "nothing"]
    np.testing.assert_allclose(
        whole.credits["credit + team"], whole.credits["credit"] + whole.credits["team alone"], atol=1e-6
    )
    assert (whole.credits["nothing"] == 0).all()


@pytest.mark.slow
def test_where_credits_are_tried_out_they_alone_are_followed() -> None:
    """So there is no credit with something added; beside the tried one stands the critic's."""
    found = audit(made("seca-fork"), Plan(6, 2))
    assert list(found.credits) == ["credit", "team alone", "its critic's", "nothing"]


def enumerated(payoff: np.ndarray, probs: np.ndarray, taken: np.ndarray, held: set[int]) -> float:
    """Q(u_C, pi) of a one-step game: the mean over what the agents that are not held may do."""
    agents = range(payoff.ndim)
    choices = [(int(taken[i]),) if i in held else range(payoff.shape[i]) for i in agents]
    weight = lambda joint: np.prod([1.0 if i in held else probs[i, joint[i]] for i in agents])  # noqa: E731
    return float(sum(weight(joint) * payoff[joint] for joint in itertools.product(*choices)))


@pytest.mark.slow
@pytest.mark.parametrize("game", ["peak", "additive"])
def test_games_with_known_payoffs(game: str) -> None:
    """Forks of matrix games, under `seca` untrained, against all joint actions enumerated."""
    run = made("seca", game)
    found = audit(run, Plan(40, 300, kinds=KINDS))
    assert set(found.plan.kinds) == set(KINDS)
    keys = jax.random.split(round_keys(0, 0)[0], EPISODES)
    params = run.algorithm.policy(run.state.learner)
    episodes, _ = jax.jit(lambda: collect(run.env, run.algorithm, params, keys, run.state.env_steps))()
    probs = np.asarray(acting_over(params, episodes).probs)[found.battle % EPISODES, found.time]
    payoff, n_agents = GAMES[game].payoff, run.env.spec.n_agents
    exact = np.zeros((40, len(KINDS), n_agents))
    for step, (taken, order) in enumerate(zip(found.action, found.order, strict=True)):

        def worth(agent: int, held: tuple[int, ...], step: int = step, taken: np.ndarray = taken) -> float:
            with_it, without = ({*held, agent}, set(held))
            return enumerated(payoff, probs[step], taken, with_it) - enumerated(payoff, probs[step], taken, without)

        for agent in range(n_agents):
            others = [i for i in range(n_agents) if i != agent]
            before = [tuple(o[: o.index(agent)]) for o in itertools.permutations(range(n_agents))]
            told = {
                "independent": worth(agent, ()),
                "counterfactual": worth(agent, tuple(others)),
                "sequential": worth(agent, tuple(order[: list(order).index(agent)].tolist())),
                "shapley": np.mean([worth(agent, held) for held in before]),
            }
            exact[step, :, agent] = [told[kind] for kind in found.plan.kinds]
    error = found.sums.error()
    z = (found.sums.mean() - exact) / np.where(error > 0, error, np.inf)
    assert (np.abs(z) < 4.5).all() and 0.8 < z[error > 0].std() < 1.2
    assert np.allclose(found.sums.mean()[error == 0], exact[error == 0], atol=1e-5)
    assert np.abs(exact).max() > 0.1


@pytest.mark.slow
def test_what_cannot_be_forked_again_is_refused() -> None:
    begun = forking.audited()
    flipped = dataclasses.replace(begun, action=1 - begun.action)
    with pytest.raises(ValueError, match=r"`before` has other steps \(`action` differs\)"):
        audit(forking.run(), dataclasses.replace(begun.plan, forks=60), before=flipped)
    older = dataclasses.replace(begun, about=begun.about | {"policy": "00000000"})
    with pytest.raises(ValueError, match="`checkpoint` is .* but the audit to add to was made with 00000000"):
        audit(forking.run(), begun.plan, before=older)
