"""What a credit is: a plain function of one step, and what training may know of it."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.distributions import encoded
from seca.types import Actions, EnvSpec

QFn = Callable[[Float[Array, "agents actions"]], Float[Array, ""]]
"""Joint value with the state closed over; each agent's row tells an action, or a policy (`distributions`)."""

CreditFn = Callable[
    [QFn, Float[Array, "agents actions"], Actions, Int[Array, " agents"], PRNGKeyArray],
    Float[Array, " agents"],
]
"""`credit(q_fn, probs, action, order, key)`: credit of each agent, in agent slots, for the joint action of one step.

Where actions are continuous, `probs` are the encodings of Gaussian policies (`distributions`)."""


class Mixed(eqx.Module):
    """One step's joint action, carried as far as a critic's hidden layer: all that many a credit needs.

    The hidden layer is linear in the agents' rows, so exchanging agent i's policy for its action adds `delta[i]`
    whatever the others do. Every mixed input then costs one ReLU and one dot product, with no further pass of the
    hypernetwork: all n advantages of a sweep are O(n).
    """

    policy: Float[Array, "*rows embed"]
    """Hidden layer before its ReLU with every agent's row a policy."""
    delta: Float[Array, "*rows agents embed"]
    """What agent i's row adds when it changes from policy to the taken action."""
    w2: Float[Array, "*rows embed"]
    b2: Float[Array, "*rows"]

    def value(self, hidden: Float[Array, "... embed"]) -> Float[Array, "..."]:
        """Critic value from the hidden layer before its ReLU; leading axes broadcast against the rows'."""
        return (jax.nn.relu(hidden) * self.w2).sum(axis=-1) + self.b2

    def each(self, hidden: Float[Array, "*rows agents embed"]) -> Float[Array, "*rows agents"]:
        """Critic values of a hidden layer for each agent."""
        return (jax.nn.relu(hidden) * self.w2[..., None, :]).sum(axis=-1) + self.b2[..., None]

    def taken(self) -> Float[Array, "*rows"]:
        """f(s, u): every agent's row the taken action."""
        return self.value(self.policy + self.delta.sum(axis=-2))


FastCredit = Callable[[Mixed, Int[Array, "*rows agents"], Key[Array, "*rows"]], Float[Array, "*rows agents"]]
"""`fast(mixed, order, keys)`: the same credits of many steps, from the hidden layer."""


def no_floats(n_agents: int, n_actions: int, embed: int) -> int:
    """Nothing held beside what every credit takes."""
    del n_agents, n_actions, embed
    return 0


def any_team(n_agents: int, n_actions: int) -> None:
    """Serves every environment."""
    del n_agents, n_actions


Kind = Literal["sequential", "counterfactual", "independent", "shapley"]
"""What a credit is an estimate of: Eq. 5, 3 or 4 of Zang et al. 2023, or the Shapley value."""
KINDS: tuple[Kind, ...] = typing.get_args(Kind)


@dataclasses.dataclass(frozen=True)
class Credit:
    """How much did each agent's action help? A plain function, and what makes it quick to train with."""

    name: str
    fn: CreditFn
    """The plain form, of one step."""
    fast: FastCredit | None = None
    """The same from the hidden layer, for critics that have one (`nets.critics.MixingCritic`), or None."""
    kind: Kind = "sequential"
    """What it is an estimate of."""
    reads_order: bool = True
    """Whether it depends on who is judged first. Where not, no order is made."""
    floats: Callable[[int, int, int], int] = no_floats
    """`floats(n_agents, n_actions, embed)`: numbers held at once for the credit of one step; an estimate."""
    check: Callable[[int, int], None] = any_team
    """`check(n_agents, n_actions)`. Raises ValueError for a team that it cannot serve."""
    reads_policies: bool = True
    """Whether it asks the critic of policies, and not of actions alone."""
    continuous: bool = True
    """Whether it can serve continuous actions."""

    def check_serves(self, spec: EnvSpec) -> None:
        """Raise ValueError for an environment that it cannot serve."""
        self.check(spec.n_agents, spec.n_actions)
        if spec.box is not None and not self.continuous:
            raise ValueError(
                f"`credit` {self.name} enumerates joint actions, and those of {spec.id} are continuous: choose swept "
                "or monte_carlo"
            )


def taken_rows(action: Actions, probs: Float[Array, "agents actions"]) -> Float[Array, "agents actions"]:
    """Rows of the taken actions, in the shape and dtype of `probs`: one-hots, or (a, 0) of continuous ones."""
    return encoded(action, probs.shape[-1], probs.dtype)
