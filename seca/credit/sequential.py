"""The sequential advantage of Eq. 5: by one sweep of mixed inputs, exact, and sampled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.credit.base import Credit, Mixed, QFn, taken_rows
from seca.distributions import draws_of
from seca.types import Actions

MAX_JOINT_ACTIONS = 65_536
"""`exact` refuses to enumerate more joint actions than this."""


def swept(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Actions,
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Float[Array, " agents"]:
    """Sequential advantage with the critic itself averaging over the agents yet to be judged.

    With x_k the joint input whose first k agents of the order are one-hot and whose others are policies:

        A(o_k) = Q(x_k) - Q(x_{k-1}),     sum_i A_i = Q(u) - Q(pi).

    Equals `exact` when Q is linear in each agent's row. Zang et al. 2023, Eq. 5 and section 3.2.

    Args:
        q_fn: joint value at the step's state.
        probs: policies pi_i(. | tau_i).
        action: joint action u.
        order: agent at each position, first judged first.
        key: ignored.
    """
    del key  # Deterministic.
    rank = jnp.argsort(order)
    judged = jnp.arange(order.shape[0] + 1)[:, None] > rank[None, :]
    q = jax.vmap(q_fn)(jnp.where(judged[..., None], taken_rows(action, probs)[None], probs[None]))
    return jnp.diff(q)[rank]


def swept_fast(
    step: Mixed, order: Int[Array, "*rows agents"], keys: Key[Array, "*rows"] | None = None
) -> Float[Array, "*rows agents"]:
    """`swept` of many steps in O(n), from the hidden layer."""
    del keys  # Deterministic.
    before = step.value(step.policy)
    # One agent after the other: no copy of `delta` in the order, no parallel prefix sum: both are slow on CPU.
    _, gains = jax.lax.scan(functools.partial(_judge, step), (step.policy, before), jnp.moveaxis(order, -1, 0))
    judged = jax.nn.one_hot(order, order.shape[-1], dtype=bool)
    return jnp.where(judged, jnp.moveaxis(gains, 0, -1)[..., None], 0).sum(axis=-2)


def prefix_values(step: Mixed, order: Int[Array, "*rows agents"]) -> Float[Array, "*rows prefixes"]:
    """Values of all n + 1 inputs of a sweep, from f(s, pi) to f(s, u): differences of neighbours are `swept_fast`."""

    def judge(hidden: Array, agent: Int[Array, "*rows"]) -> tuple[Array, Array]:
        hidden = hidden + jnp.take_along_axis(step.delta, agent[..., None, None], axis=-2)[..., 0, :]
        return hidden, step.value(hidden)

    _, values = jax.lax.scan(judge, step.policy, jnp.moveaxis(order, -1, 0))
    return jnp.concatenate([step.value(step.policy)[..., None], jnp.moveaxis(values, 0, -1)], axis=-1)


def _judge(
    step: Mixed, judged: tuple[Array, Array], agent: Int[Array, "*rows"]
) -> tuple[tuple[Array, Array], Float[Array, "*rows"]]:
    """Add one agent to the hidden layer of those judged before: that layer, its value, and what it gained."""
    hidden, before = judged
    hidden = hidden + jnp.take_along_axis(step.delta, agent[..., None, None], axis=-2)[..., 0, :]
    value = step.value(hidden)
    return (hidden, value), value - before


SWEPT = Credit("swept", swept, swept_fast)


def exact(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Actions,
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Float[Array, " agents"]:
    """Sequential advantage by enumeration of all joint actions.

        A(o_k) = E[Q(u_{o_1..o_k}, u')] - E[Q(u_{o_1..o_{k-1}}, u')],     u' ~ pi for the agents not named.

    Zang et al. 2023, Eq. 5. Raises ValueError above `MAX_JOINT_ACTIONS` joint actions.
    """
    del key  # Deterministic.
    n_agents, n_actions = probs.shape
    check_enumerable(n_agents, n_actions)
    joint = jnp.asarray(np.indices((n_actions,) * n_agents).reshape(n_agents, -1).T)
    q = jax.vmap(lambda chosen: q_fn(taken_rows(chosen, probs)))(joint)
    as_policy = jnp.take_along_axis(probs, joint.T, axis=1).T
    as_taken = (joint == action[None]).astype(probs.dtype)
    rank = jnp.argsort(order)
    judged = jnp.arange(n_agents + 1)[:, None, None] > rank[None, None]
    weight = jnp.where(judged, as_taken, as_policy).prod(axis=-1)
    return jnp.diff(weight @ q)[rank]


def check_enumerable(n_agents: int, n_actions: int) -> None:
    """Raise ValueError where there are too many joint actions."""
    if n_actions**n_agents > MAX_JOINT_ACTIONS:
        raise ValueError(
            f"`credit` exact enumerates {n_actions}^{n_agents} joint actions, above {MAX_JOINT_ACTIONS}; "
            "choose swept or monte_carlo"
        )


def _joint_floats(n_agents: int, n_actions: int, embed: int) -> int:
    """Of the critic at one joint action."""
    return n_agents * n_actions + 2 * embed


EXACT = Credit(
    "exact",
    exact,
    floats=lambda n_agents, n_actions, embed: n_actions**n_agents * _joint_floats(n_agents, n_actions, embed),
    check=check_enumerable,
    reads_policies=False,
    continuous=False,
)


def monte_carlo(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Actions,
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
    samples: int = 8,
) -> Float[Array, " agents"]:
    """Unbiased estimate of `exact` from sampled actions of the agents yet to be judged.

    Every prefix uses the same samples (common random numbers), so credits still sum to Q(u) minus the sampled mean.
    Zang et al. 2023, Eq. 5.

    Args:
        q_fn: joint value at the step's state.
        probs: policies pi_i(. | tau_i).
        action: joint action u.
        order: agent at each position.
        key: consumed for the samples.
        samples: joint actions drawn from the policies.
    """
    n_agents = order.shape[0]
    drawn = draws_of(key, probs, action, samples)
    rank = jnp.argsort(order)
    judged = jnp.arange(n_agents + 1)[:, None] > rank[None]
    # Continuous actions have an axis more.
    judged = judged.reshape(n_agents + 1, 1, n_agents, *(1,) * (action.ndim - 1))
    joint = jnp.where(judged, action[None, None], drawn[None])
    q = jax.vmap(jax.vmap(lambda chosen: q_fn(taken_rows(chosen, probs))))(joint)
    return jnp.diff(q.mean(axis=1))[rank]


def sampled(samples: int = 8) -> Credit:
    """`monte_carlo` from so many joint actions per step, which are evaluated side by side."""
    return Credit(
        "monte_carlo",
        functools.partial(monte_carlo, samples=samples),
        reads_policies=False,
        floats=lambda n_agents, n_actions, embed: samples * (n_agents + 1) * _joint_floats(n_agents, n_actions, embed),
    )
