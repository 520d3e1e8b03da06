"""Slow twins: each formula once more in plain NumPy with explicit loops, for comparison only."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

Table = np.ndarray
"""Q(u) with one axis per agent."""


def joint_probability(probs: np.ndarray, joint: Sequence[int]) -> float:
    """prod_i pi_i(u_i)."""
    return float(np.prod([probs[i, a] for i, a in enumerate(joint)]))


def joint_actions(table: Table) -> list[tuple[int, ...]]:
    """All joint actions of a table game."""
    return list(itertools.product(*(range(size) for size in table.shape)))


def conditional_value(table: Table, probs: np.ndarray, joint: Sequence[int], members: set[int]) -> float:
    """E[Q(u_C, u'_{-C})] with u' ~ pi for the agents outside C (the inner expectations of Eq. 5)."""
    total = 0.0
    for other in joint_actions(table):
        weight = 1.0
        for i in range(table.ndim):
            weight *= float(other[i] == joint[i]) if i in members else probs[i, other[i]]
        total += weight * table[other]
    return total


def sequential_advantage(
    table: Table, probs: np.ndarray, joint: Sequence[int], order: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Eq. 5 by its definition, in agent slots."""
    credit = np.zeros(table.ndim)
    for k, agent in enumerate(order):
        before, after = set(map(int, order[:k])), set(map(int, order[: k + 1]))
        credit[agent] = conditional_value(table, probs, joint, after) - conditional_value(table, probs, joint, before)
    return credit


def counterfactual_advantage(table: Table, probs: np.ndarray, joint: Sequence[int]) -> np.ndarray:
    """Eq. 3: Q(u) - sum_a pi_i(a) Q(a, u_{-i})."""
    credit = np.zeros(table.ndim)
    for i in range(table.ndim):
        baseline = 0.0
        for a in range(table.shape[i]):
            changed = list(joint)
            changed[i] = a
            baseline += probs[i, a] * table[tuple(changed)]
        credit[i] = table[tuple(joint)] - baseline
    return credit


def independent_advantage(table: Table, probs: np.ndarray, joint: Sequence[int]) -> np.ndarray:
    """Eq. 4: E Q(u_i, u'_{-i}) - E Q(u')."""
    mean = conditional_value(table, probs, joint, set())
    return np.array([conditional_value(table, probs, joint, {i}) - mean for i in range(table.ndim)])


def variance(table: Table, probs: np.ndarray, credit: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """Var over u ~ pi of each agent's credit, by enumeration."""
    first, second = np.zeros(table.ndim), np.zeros(table.ndim)
    for joint in joint_actions(table):
        weight, value = joint_probability(probs, joint), np.asarray(credit(joint))
        first, second = first + weight * value, second + weight * value**2
    return second - first**2


def td_lambda(
    reward: np.ndarray, terminated: bool, length: int, value: np.ndarray, gamma: float, lam: float
) -> np.ndarray:
    """TD(lambda) as the mixture of n-step returns (Sutton and Barto 2018, Eq. 12.3), one episode of `length` steps.

    The n-step return that reaches the end takes all remaining weight; it bootstraps from v_L unless terminated.
    """
    targets = np.zeros(len(reward))
    for t in range(length):
        mixture, remaining = 0.0, 1.0
        for n in range(1, length - t + 1):
            discounted = sum(gamma**k * reward[t + k] for k in range(n))
            at_end = t + n == length
            bootstrap = 0.0 if at_end and terminated else gamma**n * value[t + n]
            weight = remaining if at_end else (1 - lam) * lam ** (n - 1)
            mixture += weight * (discounted + bootstrap)
            remaining -= 0.0 if at_end else weight
        targets[t] = mixture
    return targets


def critic_value(weights: dict[str, np.ndarray], inputs: np.ndarray) -> float:
    """f(v) = w2 . relu(sum_i v_i W1_i + b1) + b2, agent by agent and unit by unit."""
    n_agents, n_actions, embed = weights["w1"].shape
    total = float(weights["b2"])
    for e in range(embed):
        unit = weights["b1"][e]
        for i in range(n_agents):
            for a in range(n_actions):
                unit += inputs[i, a] * weights["w1"][i, a, e]
        total += max(unit, 0.0) * weights["w2"][e]
    return total


def q_lambda(
    reward: np.ndarray, terminated: bool, length: int, best: np.ndarray, taken: np.ndarray, gamma: float, lam: float
) -> np.ndarray:
    """Q*(lambda) by its definition: q_t plus discounted corrections delta_k of all steps that follow.

    y_t = q_t + sum_{k >= t} (gamma lam)^(k-t) delta_k,  delta_k = r_k + gamma v_{k+1} - q_k. Harutyunyan et al. 2016.
    """
    y = np.zeros(len(reward))
    for t in range(length):
        y[t] = taken[t]
        for k in range(t, length):
            ended = terminated and k == length - 1
            delta = reward[k] + (0 if ended else gamma * best[k + 1]) - taken[k]
            y[t] += (gamma * lam) ** (k - t) * delta
    return y


def n_step(reward, terminated: bool, length: int, value, gamma: float, n: int) -> np.ndarray:
    """Sutton and Barto 2018, Eq. 7.1, one episode of `length` steps."""
    targets = np.zeros(len(reward))
    for t in range(length):
        reach = min(n, length - t)
        targets[t] = sum(gamma**k * reward[t + k] for k in range(reach))
        if not (terminated and t + reach == length):
            targets[t] += gamma**reach * value[t + reach]
    return targets
