"""Returns of one stream of rewards; batch with `vmap`."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.ranges import Fraction
from seca.types import TimeLimit


@dataclasses.dataclass(frozen=True)
class Targets:
    """Options of everyone who learns values."""

    gamma: Fraction = 0.99
    """Discount per env step."""
    time_limit: TimeLimit = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


@dataclasses.dataclass(frozen=True)
class LambdaTargets(Targets):
    """Options of those whose targets mix all n-step returns."""

    td_lambda: Fraction = 0.8
    """Lambda of the TD(lambda) targets."""


def lambda_returns(
    reward: Float[Array, " time"],
    terminated: Bool[Array, " time"],
    valid: Bool[Array, " time"],
    value: Float[Array, "time+1"],
    taken: Float[Array, "time+1"] | None = None,
    *,
    gamma: float,
    lam: float,
) -> Float[Array, " time"]:
    """TD(lambda) targets of one padded episode, right for episodes cut short of the padding; with `taken` Q*(lambda).

        y_t = r_t + gamma (1 - d_t) [v_{t+1} + lam (y_{t+1} - q_{t+1})],    y_{L-1} = r_{L-1} + gamma (1 - d_{L-1}) v_L.

    With q = v, the default, that is lam y_{t+1} + (1 - lam) v_{t+1} in the brackets: Zang et al. 2023, Eq. 12 (forward
    view: Sutton and Barto 2018, section 12.1); of values of greedy actions it is Peng's Q(lambda), which leaves the
    difference between greedy and taken actions uncorrected. With v of greedy and q of taken actions off-policy steps
    are corrected and no trace is cut: Harutyunyan et al. 2016. An episode that was truncated bootstraps from its own
    last state, whatever rows of padding follow; to treat the time limit as an end, mark the truncated step as
    terminated (`Episodes.ended`).

    Args:
        reward: r_t for t = 0 .. T-1.
        terminated: d_t, true where the episode ended by the rules of the game.
        valid: true for t < L, the real steps.
        value: v_t for t = 0 .. T, from the target network.
        taken: q_t for t = 0 .. T, from the target network at the taken actions; None where v is that.
        gamma: discount per step.
        lam: 0 gives one-step targets, 1 with q = v Monte-Carlo returns.

    Returns:
        y_t for t = 0 .. T-1; 0 on padding.
    """
    taken = value if taken is None else taken
    goes_on = jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])

    def step(y_tp1: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        r_t, end_t, goes_on_t, valid_t, v_tp1, q_tp1 = inputs
        onward = v_tp1 + jnp.where(goes_on_t, lam * (y_tp1 - q_tp1), 0)
        y_t = jnp.where(valid_t, r_t + gamma * jnp.where(end_t, 0, onward), 0)
        return y_t, y_t

    inputs = (reward, terminated, goes_on, valid, value[1:], taken[1:])
    _, targets = jax.lax.scan(step, jnp.zeros_like(value[0]), inputs, reverse=True)
    return targets


def n_step(
    reward: Float[Array, " time"],
    terminated: Bool[Array, " time"],
    valid: Bool[Array, " time"],
    value: Float[Array, "time+1"],
    gamma: float,
    n: int,
) -> Float[Array, " time"]:
    """n-step targets of one padded episode; near the end they reach as far as the episode does.

        y_t = sum_{k < h} gamma^k r_{t+k} + gamma^h (1 - d_{t+h-1}) v_{t+h},    h = min(n, L - t).

    Sutton and Barto 2018, Eq. 7.1. A truncated episode bootstraps from its own last state.

    Args:
        reward: r_t for t = 0 .. T-1.
        terminated: d_t, true where the episode ended by the rules of the game.
        valid: true for t < L, the real steps.
        value: v_t for t = 0 .. T, from the target network.
        gamma: discount per step.
        n: rewards counted before bootstrapping; at least 1.

    Returns:
        y_t for t = 0 .. T-1; 0 on padding.
    """

    def further(_: Int[Array, ""], y: Array) -> Array:
        # One reward more in front of what was reached from the following step; rows from L on keep their value.
        reached = reward + gamma * jnp.where(terminated, 0, y[1:])
        return jnp.concatenate([jnp.where(valid, reached, value[:-1]), value[-1:]])

    return jnp.where(valid, jax.lax.fori_loop(0, n, further, value)[:-1], 0)
