"""The mixing critic and the recurrent agent: golden numbers, slow twins, closed forms against autodiff."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from reference import actor, assert_close, assert_trees_close, critic, float64_fixture, load

from seca.credit.counterfactual import counterfactual, counterfactual_fast
from seca.nets.agents import NormalisedAgent, RecurrentAgent, agent_inputs
from seca.nets.critics import MixingCritic

_ = float64_fixture


@pytest.mark.parametrize("kind", ["onehot", "probs", "mixed"])
def test_critic_golden(golden_dir, kind: str, float64: None) -> None:
    numbers = load(golden_dir, "seca_critic")
    inputs = jnp.asarray(numbers[f"action_input_{kind}"])
    weights = critic(numbers).weights(jnp.asarray(numbers["states"]), inputs.shape[2])
    assert_close(weights.value(inputs), numbers[f"f_{kind}"])
    assert_close(weights.input_gradient(inputs), numbers[f"df_daction_input_{kind}"])
    if kind == "onehot":
        assert_close(weights.taken_value(inputs.argmax(axis=-1)), numbers["f_onehot"])


def test_coma_newarchi_golden(golden_dir, float64: None) -> None:
    numbers = load(golden_dir, "coma_newarchi")
    probs = jnp.asarray(numbers["action_probs"])
    taken = jnp.asarray(numbers["actions_onehot"]).argmax(axis=-1)
    weights = critic(numbers).weights(jnp.asarray(numbers["states"]), probs.shape[2])
    mixed = weights.mix(probs, taken)
    assert_close(mixed.value(mixed.policy), numbers["f_policy"])
    assert_close(counterfactual_fast(mixed), numbers["advantage"])
    one_step = jax.tree.map(lambda x: x[0, 0], weights)
    plain = counterfactual(one_step.value, probs[0, 0], taken[0, 0], jnp.arange(probs.shape[2]), jax.random.key(0))
    assert_close(plain, numbers["advantage"][0, 0])


def test_critic_equals_its_slow_twin(float64: None) -> None:
    module = MixingCritic.init(jax.random.key(0), 3, 4, 5, 6, 7)
    weights = module.weights(jax.random.normal(jax.random.key(1), (5,), jnp.float32), 3)
    inputs = np.random.default_rng(0).dirichlet(np.ones(4), size=3)
    parts = {name: np.asarray(getattr(weights, name), np.float64) for name in ("w1", "b1", "w2", "b2")}
    found = weights.value(jnp.asarray(inputs, jnp.float32))
    np.testing.assert_allclose(found, naive.critic_value(parts, inputs), atol=1e-6)


def test_closed_form_gradient_equals_autodiff(float64: None) -> None:
    module = jax.tree.map(lambda x: x.astype(jnp.float64), MixingCritic.init(jax.random.key(2), 3, 4, 5, 6, None))
    weights = module.weights(jax.random.normal(jax.random.key(3), (5,)), 3)
    inputs = jnp.asarray(np.random.default_rng(1).dirichlet(np.ones(4), size=3))
    np.testing.assert_allclose(weights.input_gradient(inputs), jax.grad(weights.value)(inputs), atol=1e-12)


@pytest.mark.parametrize(("width", "expected"), [(64, 64), (None, 64 * 5 * 11)])
def test_critic_sizes(width: int | None, expected: int) -> None:
    """The hypernetwork of W1 is 64 wide by default and embed * agents * actions wide as the authors have it."""
    shapes = jax.eval_shape(lambda key: MixingCritic.init(key, 5, 11, 120, 64, width), jax.random.key(0))
    assert shapes.w1.hidden.weight.shape == (expected, 120)
    assert shapes.w1.out.weight.shape == (3520, expected)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert (12.7e6 if width is None else 0.26e6) < parameters < (13e6 if width is None else 0.28e6)


def test_all_steps_at_once_equal_one_after_the_other(float64: None) -> None:
    """States and outputs of the normalised network from a given state, and their gradient in all it depends on."""
    rng = np.random.default_rng(0)
    agent = jax.tree.map(lambda x: x.astype(jnp.float64), NormalisedAgent.init(jax.random.key(0), 6, 5, 4, 1.0))
    inputs, start = jnp.asarray(rng.normal(size=(2, 7, 3, 6))), jnp.asarray(rng.normal(size=(2, 3, 5)))
    weights = [jnp.asarray(rng.normal(size=(2, 7, 3, size))) for size in (5, 4)]

    def one_by_one(agent: NormalisedAgent, inputs: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        states, outputs = [], []
        for t in range(7):
            h, out = agent(inputs[:, t], h)
            states.append(h)
            outputs.append(out)
        return jnp.stack(states, axis=1), jnp.stack(outputs, axis=1)

    def slope(forward):
        weighed = lambda *x: sum((jnp.sin(y) * w).sum() for y, w in zip(forward(*x), weights, strict=True))  # noqa: E731
        return jax.grad(weighed, argnums=(0, 1, 2))(agent, inputs, start)

    assert_trees_close(agent.through_time(inputs, start), one_by_one(agent, inputs, start), 1e-12)
    assert_trees_close(slope(NormalisedAgent.through_time), slope(one_by_one), 1e-10)


def test_agent_inputs_layout() -> None:
    """[observation, last action, agent index], as the reference controller builds it."""
    inputs = agent_inputs(jnp.full((2, 3), 7.0), jnp.array([[0.0, 1], [1, 0]]))
    np.testing.assert_array_equal(inputs, [[7, 7, 7, 0, 1, 1, 0], [7, 7, 7, 1, 0, 0, 1]])


def test_agent_inputs_golden(golden_dir) -> None:
    numbers = load(golden_dir, "seca_update_equal")
    taken = np.zeros_like(numbers["actions_onehot"])
    taken[:, 1:] = numbers["actions_onehot"][:, :-1]
    filled = numbers["filled"] > 0
    found = np.asarray(agent_inputs(jnp.asarray(numbers["obs"]), jnp.asarray(taken)))
    assert_close(found, numbers["agent_inputs"], filled, 1e-6)
    assert actor(numbers).encoder.weight.shape[1] == found.shape[-1]


def test_initial_weights_are_bounded_by_fan_in() -> None:
    agent = RecurrentAgent.init(jax.random.key(0), 96, 64, 11)
    for layer in (agent.encoder, agent.head):
        bound = layer.weight.shape[1] ** -0.5
        assert 0.95 * bound < float(jnp.abs(layer.weight).max()) <= bound
    assert 0.95 / 8 < float(jnp.abs(agent.cell.weight_ih).max()) <= 1 / 8
