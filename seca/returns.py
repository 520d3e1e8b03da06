"""Returns of one stream of rewards; batch with `vmap`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def td_lambda(
    reward: Float[Array, " time"],
    terminated: Bool[Array, " time"],
    valid: Bool[Array, " time"],
    value: Float[Array, "time+1"],
    gamma: float,
    lam: float,
) -> Float[Array, " time"]:
    """TD(lambda) targets of one padded episode, right for episodes cut short of the padding.

        y_t = r_t + gamma (1 - d_t) [lam y_{t+1} + (1 - lam) v_{t+1}],    y_{L-1} = r_{L-1} + gamma (1 - d_{L-1}) v_L.

    Zang et al. 2023, Eq. 12 (forward view: Sutton and Barto 2018, section 12.1). An episode that was truncated
    bootstraps from its own last state, whatever rows of padding follow; to treat the time limit as an end, mark the
    truncated step as terminated.

    Args:
        reward: r_t for t = 0 .. T-1.
        terminated: d_t, true where the episode ended by the rules of the game.
        valid: true for t < L, the real steps.
        value: v_t for t = 0 .. T, from the target network at the taken actions.
        gamma: discount per step.
        lam: 0 gives one-step targets, 1 Monte-Carlo returns.

    Returns:
        y_t for t = 0 .. T-1; 0 on padding.
    """
    following = jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])
    last = valid & ~following

    def step(y_tp1: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        r_t, end_t, last_t, valid_t, v_tp1 = inputs
        onward = jnp.where(last_t, v_tp1, lam * y_tp1 + (1 - lam) * v_tp1)
        y_t = jnp.where(valid_t, r_t + gamma * jnp.where(end_t, 0, onward), 0)
        return y_t, y_t

    _, targets = jax.lax.scan(
        step, jnp.zeros_like(value[0]), (reward, terminated, last, valid, value[1:]), reverse=True
    )
    return targets
