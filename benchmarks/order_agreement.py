"""How much the choices in the integrated-gradient order matter: Kendall's tau between orders on one batch.

    python benchmarks/order_agreement.py RUN [--episodes 32]

Prints the mean tau over episodes between each way to make the order and a fine midpoint rule (50 points), for the
policy and critic of the run's latest checkpoint. 1 is the same order, 0 is chance, -1 the reverse.
"""

import argparse
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

import seca
from seca.algos.config import ActorCriticConfig
from seca.algos.credit_pass import judge
from seca.algos.packing import pack
from seca.order.gradients import GradientOrder
from seca.train.rollout import collect

CHUNK = 64
REFERENCE = GradientOrder(points=50, rule="midpoint")
CHOICES = {
    "5 points, left (default, the authors')": GradientOrder(),
    "1 point, left": GradientOrder(points=1),
    "1 midpoint": GradientOrder(points=1, rule="midpoint"),
    "2 midpoints": GradientOrder(points=2, rule="midpoint"),
    "5 midpoints": GradientOrder(points=5, rule="midpoint"),
    "path ends at the last step": GradientOrder(end="last_step"),
    "one order for the batch": GradientOrder(reduce="batch_mean"),
    "sign of Eq. 18 as printed": GradientOrder(sign="eq18"),
}


def kendall_tau(left: np.ndarray, right: np.ndarray) -> float:
    """Share of agreeing pairs minus share of disagreeing ones, of two orders of the same agents."""
    rank_left, rank_right = np.argsort(left), np.argsort(right)
    pairs = itertools.combinations(range(len(left)), 2)
    signs = [np.sign((rank_left[i] - rank_left[j]) * (rank_right[i] - rank_right[j])) for i, j in pairs]
    return float(np.mean(signs))


def main() -> None:
    """Print one line per choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--episodes", type=int, default=32)
    arguments = parser.parse_args()
    run = seca.load(arguments.run)
    learner, config = run.state.learner, run.config.algorithm
    assert isinstance(config, ActorCriticConfig)  # Other methods judge in no order.
    keys = jax.random.split(jax.random.key(1), arguments.episodes)
    episodes, _ = jax.jit(lambda p: collect(run.env, run.algorithm, p, keys, run.state.env_steps))(learner.actor)
    packed = pack(episodes.valid, CHUNK)

    def orders(options: GradientOrder) -> np.ndarray:
        chosen = dataclasses.replace(config, order="gradients", credit="swept", path=options)
        judged = jax.jit(
            lambda critic: judge(
                critic,
                episodes,
                episodes.record.probs,
                packed,
                CHUNK,
                chosen,
                learner.fixed_order,
                jnp.zeros_like(learner.contributions),
                keys,
                None,
            )
        )(learner.critic)
        return np.asarray(judged.order[:, 0])

    reference = orders(REFERENCE)
    print(f"{arguments.run}: {int(run.state.env_steps):,} env steps, {arguments.episodes} episodes")
    for name, options in CHOICES.items():
        tau = np.mean([kendall_tau(*pair) for pair in zip(orders(options), reference, strict=True)])
        print(f"{tau:6.2f}  {name}")


if __name__ == "__main__":
    main()
