"""How much the choices in the integrated-gradient order matter: Kendall's tau between orders on one batch.

    python benchmarks/order_agreement.py RUN [--episodes 32]

Prints the mean tau over episodes between each way to make the order and a fine midpoint rule (50 points), for the
policy and critic of the run's latest checkpoint. 1 is the same order, 0 is chance, -1 the reverse.
"""

import argparse
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

import seca
from seca.algos.base import Algorithm
from seca.algos.seca import Learner, SecaConfig
from seca.config import RunConfig
from seca.credit.sequential import SWEPT
from seca.envs.base import Env
from seca.learning.judging import Batch, Judging, judge
from seca.learning.rows import pack
from seca.order.base import GradientOrder
from seca.order.gradients import by_gradients
from seca.train.rollout import collect
from seca.train.state import TrainState
from seca.types import Episodes

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


def mean_tau(left: np.ndarray, right: np.ndarray) -> float:
    """Mean of Kendall's tau over episodes, of one order per episode each."""
    return float(np.mean([kendall_tau(*pair) for pair in zip(left, right, strict=True)]))


def options_of(config: RunConfig) -> SecaConfig:
    """The algorithm's options; other methods judge in no order."""
    assert isinstance(config.algorithm, SecaConfig), f"{config.preset} judges in no order"
    return config.algorithm


def played(env: Env, algorithm: Algorithm, state: TrainState, count: int) -> Episodes:
    """Whole episodes of the policy as it acts in training."""
    params, keys = algorithm.policy(state.learner), jax.random.split(jax.random.key(1), count)
    return jax.jit(lambda p: collect(env, algorithm, p, keys, state.env_steps))(params)[0]


def orders(
    learner: Learner, episodes: Episodes, options: GradientOrder, chunk: int = CHUNK
) -> Int[Array, "batch agents"]:
    """Order of each whole episode under these options, by the learner's critic as it is."""
    keys = jax.random.split(jax.random.key(0), episodes.valid.shape[0])
    batch = Batch(episodes, episodes.record.probs, pack(episodes.valid, chunk), keys, None)
    judging, nothing_before = Judging(SWEPT, by_gradients(options)), jnp.zeros(episodes.actions.shape[2])
    return judge(learner.critic.params, batch, judging, nothing_before).order[:, 0]


def main() -> None:
    """Print one line per choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--episodes", type=int, default=32)
    arguments = parser.parse_args()
    run = seca.load(arguments.run)
    options_of(run.config)  # Refuses what judges in no order.
    episodes = played(run.env, run.algorithm, run.state, arguments.episodes)

    def ordered(options: GradientOrder) -> np.ndarray:
        return np.asarray(jax.jit(lambda learner: orders(learner, episodes, options))(run.state.learner))

    reference = ordered(REFERENCE)
    print(f"{arguments.run}: {int(run.state.env_steps):,} env steps, {arguments.episodes} episodes")
    for name, options in CHOICES.items():
        print(f"{mean_tau(ordered(options), reference):6.2f}  {name}")


if __name__ == "__main__":
    main()
