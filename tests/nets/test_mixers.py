"""Mixers against the reference numbers, and what theory says of each."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Numbers, assert_close, float64_fixture, linear, load, mlp, monotone_mixer

from seca.nets.mixers import (
    AttentionMixer,
    Choice,
    Deep,
    DuplexMixer,
    FreeMixer,
    Heads,
    JointValue,
    MonotoneMixer,
    NoMixer,
    SumMixer,
)

_ = float64_fixture


@pytest.fixture
def numbers(golden_dir) -> Numbers:
    return load(golden_dir, "mixers")


def choice(numbers: Numbers) -> Choice:
    return Choice(*(jnp.asarray(numbers[name]) for name in ("agent_qs", "agent_max_qs", "actions_onehot")))


evaluate = jax.jit(lambda mixer, state, given: mixer(state, given))
slopes = jax.jit(jax.grad(lambda q, mixer, state, given: mixer(state, Choice(q, given.best, given.one_hot)).sum()))


def check(mixer, numbers: Numbers, name: str) -> None:
    """Values, and gradients in the utilities."""
    state, given = jnp.asarray(numbers["state"]), choice(numbers)
    assert_close(evaluate(mixer, state, given), numbers[f"{name}_output"])
    assert_close(slopes(given.q, mixer, state, given), numbers[f"{name}_grad_agent_qs"])


def heads(numbers: Numbers, *names: str) -> Heads:
    parts = [[jnp.asarray(numbers[f"{name}_{part}"]) for name in names] for part in ("weight", "bias")]
    return Heads(tuple(parts[0]), tuple(parts[1]))


def deep(numbers: Numbers, *names: str) -> Deep:
    return Deep(tuple(linear(numbers, name) for name in names))


def test_sum(numbers: Numbers, float64: None) -> None:
    check(SumMixer(), numbers, "vdn")


@pytest.mark.parametrize("name", ["qmix", "vmix"])
def test_monotone(name: str, numbers: Numbers, float64: None) -> None:
    check(monotone_mixer(numbers, f"{name}_"), numbers, name)


def test_monotone_with_linear_hypernetworks(numbers: Numbers, float64: None) -> None:
    prefix = "qmix_onelayer_"
    w1, b1, w2 = (linear(numbers, f"{prefix}{name}") for name in ("w1", "b1", "w2"))
    check(MonotoneMixer(w1, b1, w2, mlp(numbers, f"{prefix}b2")), numbers, "qmix_onelayer")


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_duplex(depth: int, numbers: Numbers, float64: None) -> None:
    prefix = f"qplex{depth}"
    nets = [
        heads(numbers, *(f"{prefix}_{name}_{layer}" for layer in range(depth))) for name in ("key", "agents", "action")
    ]
    mixer = DuplexMixer(mlp(numbers, f"{prefix}_w"), mlp(numbers, f"{prefix}_v"), *nets)
    check(mixer, numbers, prefix)
    importance = mixer.importance(jnp.asarray(numbers["state"]), choice(numbers).one_hot)
    assert_close(importance, numbers[f"{prefix}_lambda"])


def test_attention(numbers: Numbers, float64: None) -> None:
    mixer = AttentionMixer(
        heads(numbers, "qatten_query_hidden", "qatten_query_out"),
        heads(numbers, "qatten_key"),
        mlp(numbers, "qatten_head"),
        mlp(numbers, "qatten_constant"),
    )
    check(mixer, numbers, "qatten")
    n_agents = numbers["agent_qs"].shape[-1]
    assert_close(mixer.attention(jnp.asarray(numbers["state"]), n_agents), numbers["qatten_attention"])
    assert mixer.key.weights[0].shape[-1] == numbers["qatten_ally_features"]


def test_free(numbers: Numbers, float64: None) -> None:
    prefix = "wqmix_central"
    layers = (f"{prefix}_net_{name}" for name in (0, 1, 2, "out"))
    check(FreeMixer(deep(numbers, *layers), mlp(numbers, f"{prefix}_v")), numbers, prefix)


@pytest.mark.slow
def test_joint_value(numbers: Numbers, float64: None) -> None:
    q, v = (deep(numbers, *(f"qtran_{net}_{layer}" for layer in (0, 1, "out"))) for net in "qv")
    module = JointValue(mlp(numbers, "qtran_encoding"), q, v)
    state, hidden = (jnp.asarray(numbers[name]) for name in ("state", "qtran_agent_hidden"))
    taken, other = (jnp.asarray(numbers[name]) for name in ("actions_onehot", "qtran_other_actions_onehot"))
    assert_close(module.joint(state, hidden, taken), numbers["qtran_q"])
    assert_close(module.joint(state, hidden, other), numbers["qtran_q_other"])
    assert_close(module.value(state), numbers["qtran_v"])
    gradient = jax.grad(lambda h: module.joint(state, h, taken).sum())(hidden)
    assert_close(gradient, numbers["qtran_grad_agent_hidden"])


N_AGENTS, N_ACTIONS, STATE = 3, 4, 8
MIXERS = {
    "sum": lambda key: SumMixer(),
    "monotone": lambda key: MonotoneMixer.init(key, N_AGENTS, STATE, 6, 5),
    "duplex": lambda key: DuplexMixer.init(key, N_AGENTS, N_ACTIONS, STATE, 6, 4, 2),
    "attention": lambda key: AttentionMixer.init(key, STATE, 2, 4, 5, 6, 7),
}


def joint_values(mixer, state: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Q_tot of every joint action, by enumeration; the last axis of `table` is the action."""
    joints = np.array(list(itertools.product(range(N_ACTIONS), repeat=N_AGENTS)))
    q = table[np.arange(N_AGENTS), joints]
    best = np.broadcast_to(table.max(axis=1), q.shape)
    given = Choice(jnp.asarray(q), jnp.asarray(best), jnp.asarray(np.eye(N_ACTIONS)[joints]))
    values = evaluate(mixer, jnp.broadcast_to(jnp.asarray(state), (len(joints), STATE)), given)
    return np.asarray(values).reshape((N_ACTIONS,) * N_AGENTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXERS)
def test_greedy_agents_are_jointly_greedy(name: str, float64: None) -> None:
    """IGM: the joint action best for Q_tot is each agent's own best one. Enumerated on random games."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        mixer = jax.tree.map(lambda x: 2 * x.astype(jnp.float64), MIXERS[name](jax.random.key(seed)))
        table = rng.normal(size=(N_AGENTS, N_ACTIONS))
        values = joint_values(mixer, rng.normal(size=STATE), table)
        assert np.unravel_index(values.argmax(), values.shape) == tuple(table.argmax(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MIXERS if name != "duplex"])
def test_more_utility_is_never_less_value(name: str, float64: None) -> None:
    rng = np.random.default_rng(1)
    mixer = jax.tree.map(lambda x: 2 * x.astype(jnp.float64), MIXERS[name](jax.random.key(1)))
    state, q = jnp.asarray(rng.normal(size=(50, STATE))), jnp.asarray(rng.normal(size=(50, N_AGENTS)))
    slope = slopes(q, mixer, state, Choice(q, q, jnp.zeros((50, N_AGENTS, N_ACTIONS))))
    assert (np.asarray(slope) >= 0).all() and (np.asarray(slope) > 0).any()


@pytest.mark.slow
def test_duplex_reaches_games_that_no_monotone_mixer_does(float64: None) -> None:
    """lambda depends on the joint action: (1, 1) may be better than (0, 1) while 0 is the better action of agent 0."""
    mixer = jax.tree.map(lambda x: 3 * x.astype(jnp.float64), MIXERS["duplex"](jax.random.key(3)))
    found = False
    for seed in range(50):
        rng = np.random.default_rng(seed)
        table = np.sort(rng.normal(size=(N_AGENTS, N_ACTIONS)))[:, ::-1]
        found |= bool((np.diff(joint_values(mixer, rng.normal(size=STATE), table), axis=0) > 0).any())
    assert found


@pytest.mark.slow
def test_importance_is_positive() -> None:
    mixer = MIXERS["duplex"](jax.random.key(0))
    rng = np.random.default_rng(2)
    state = jnp.asarray(rng.normal(size=(30, STATE)), jnp.float32)
    one_hot = jax.nn.one_hot(rng.integers(N_ACTIONS, size=(30, N_AGENTS)), N_ACTIONS)
    assert (np.asarray(mixer.importance(state, one_hot)) > 0).all()


def test_no_mixer_keeps_agents_apart() -> None:
    q = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(NoMixer()(jnp.zeros((2, 1)), Choice(q, q, jnp.zeros((2, 3, 2)))), q)


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXERS)
def test_rows_of_any_shape(name: str) -> None:
    mixer = MIXERS[name](jax.random.key(0))
    q = jnp.ones((2, 5, N_AGENTS))
    state, one_hot = jnp.ones((2, 5, STATE)), jnp.ones((2, 5, N_AGENTS, N_ACTIONS))
    together = evaluate(mixer, state, Choice(q, q, one_hot))
    alone = jax.jit(jax.vmap(jax.vmap(mixer.__call__)))(state, Choice(q, q, one_hot))
    np.testing.assert_allclose(together, alone, rtol=1e-5)
