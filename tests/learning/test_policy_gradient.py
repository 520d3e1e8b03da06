"""The actor's gradient against plain autodiff through the unrolled network, and against what it is the gradient of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXES, LENGTHS, SPEC, agent_of, plain_actor_loss, plain_outputs, random_episodes
from jax.scipy.stats import norm
from reference import assert_trees_close, float64_fixture

from seca.credit.sequential import exact
from seca.distributions import gaussian
from seca.learning.acting import acting_over
from seca.learning.policy_gradient import PolicyLoss, actor_gradient
from seca.nets.agents import RecurrentAgent
from seca.types import Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture


@pytest.mark.parametrize("form", ["batch_mean", "per_sample", "alive_only"])
def test_actor_gradient_equals_plain_autodiff(form: Any, float64: None) -> None:
    """T7 for each form: the adaptive entropy's gradient is that of xi H / sg(H), or of xi log H per sample."""
    agent, episodes, loss = agent_of(8), random_episodes(garbage=1.0), PolicyLoss(entropy_coef=0.3, entropy=form)
    advantage = jnp.asarray(np.random.default_rng(5).normal(size=(len(LENGTHS), SPEC.episode_limit, SPEC.n_agents)))
    found = jax.jit(lambda a: actor_gradient(a, loss, episodes, acting_over(a, episodes), advantage, None))(agent)
    plain = jax.jit(jax.value_and_grad(plain_actor_loss), static_argnums=4)
    value, gradient = plain(agent, episodes, advantage, 0.3, form)
    assert_trees_close(found.gradient, gradient, 1e-10)
    if form != "per_sample":  # Whose value is xi, and not that of the log with the same gradient.
        np.testing.assert_allclose(found.loss, value, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "size"),
    [
        ("plain", "one block"),
        ("batch_mean", "between blocks"),
        ("per_sample", "one block"),
        ("alive_only", "between blocks"),
    ],
)
def test_actor_gradient_of_gaussian_policies(form: Any, size: str, float64: None) -> None:
    """Densities by scipy's formulas over the padded batch; the entropy bonus is xi Hbar, whatever form is named."""
    spec, lengths = BOXES[size]
    agent, episodes = agent_of(8, spec, 4), random_episodes(garbage=1.0, lengths=lengths, spec=spec)
    loss = PolicyLoss(entropy_coef=0.3, entropy=form)
    advantage = jnp.asarray(np.random.default_rng(5).normal(size=(*episodes.valid.shape, spec.n_agents)))

    def plain(module: RecurrentAgent) -> jax.Array:
        policy = gaussian(plain_outputs(module, episodes)[:, :-1], episodes.avail[:, :-1])
        std, mask = jnp.exp(policy.log_std), episodes.valid[..., None]
        density = norm.logpdf(episodes.actions[:, :-1], policy.mean, std).sum(axis=-1)
        samples = episodes.valid.sum() * spec.n_agents
        choice = mask & episodes.avail[:, :-1].all(axis=-1)
        spread = 0.5 * jnp.log(2 * jnp.pi * jnp.e * std**2).sum(axis=-1)
        mean = jnp.where(choice, spread, 0).sum() / (choice.sum() if form == "alive_only" else samples)
        return -jnp.where(mask, density * advantage, 0).sum() / samples - 0.3 * mean

    found = jax.jit(lambda a: actor_gradient(a, loss, episodes, acting_over(a, episodes), advantage, None))(agent)
    value, gradient = jax.jit(jax.value_and_grad(plain))(agent)
    assert_trees_close(found.gradient, gradient, 1e-10)
    np.testing.assert_allclose(found.loss, value, atol=1e-12)


def test_actor_gradient_is_the_policy_gradient(float64: None) -> None:
    """T12: with Q fixed and exact credits, the loss gradient averaged over all joint actions is -grad E Q / n."""
    rng = np.random.default_rng(3)
    table = jnp.asarray(rng.normal(size=(2, 2, 2)))
    joints = jnp.asarray(np.indices((2, 2, 2)).reshape(3, -1).T)
    agent = jax.tree.map(lambda x: x.astype(jnp.float64), RecurrentAgent.init(jax.random.key(4), 2 + 2 + 3, 5, 2))
    obs = jnp.asarray(rng.normal(size=(3, 2)))

    def episode(joint) -> Episodes:
        return Episodes(
            reward=jnp.zeros((1, 1)),
            terminated=jnp.ones((1, 1), bool),
            truncated=jnp.zeros((1, 1), bool),
            valid=jnp.ones((1, 1), bool),
            obs=jnp.broadcast_to(obs, (1, 2, 3, 2)),
            state=jnp.zeros((1, 2, 1)),
            avail=jnp.ones((1, 2, 3, 2), bool),
            actions=jnp.broadcast_to(joint, (1, 2, 3)),
        )

    def q_fn(rows):
        return jnp.einsum("abc,a,b,c->", table, *rows)

    def policies(module):
        return acting_over(module, episode(joints[0])).probs[0, 0]

    def weighted(joint):
        probs = policies(agent)
        credit = exact(q_fn, probs, joint, jnp.array([1, 2, 0]), jax.random.key(0))
        batch = episode(joint)
        found = actor_gradient(agent, PolicyLoss(), batch, acting_over(agent, batch), credit[None, None], None)
        weight = jnp.take_along_axis(probs, joint[:, None], axis=1).prod()
        return jax.tree.map(lambda g: weight * g, found.gradient)

    total = jax.tree.map(lambda g: g.sum(axis=0), jax.jit(lambda: jax.lax.map(weighted, joints))())
    expected = jax.grad(lambda module: -q_fn(policies(module)) / 3)(agent)
    assert_trees_close(total, expected, 1e-10)
