"""Options of the methods with a mixing critic, and what every algorithm refuses of its numbers."""

import dataclasses
import typing
from typing import Annotated, Any, Literal

from seca.order.gradients import GradientOrder
from seca.ranges import Count, Fraction, NonNegative, Positive, Range, found_in


@dataclasses.dataclass(frozen=True)
class MixingCriticConfig:
    """Options of the mixing critic and of its training."""

    critic_lr: Positive = 5e-4
    """Adam step size of the critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    td_lambda: Fraction = 0.8
    """Lambda of the TD(lambda) targets (Eq. 12)."""
    target_interval: Count = 200
    """Critic steps between two copies of the critic into its target."""
    critic_epochs: Annotated[int, Range(1, 10_000)] = 1
    """Gradient steps of the critic on each batch, all towards the same targets."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    critic_embed: Count = 64
    """Width of the mixing critic's hidden layer."""
    critic_width: Count | None = 64
    """Width of the hypernetwork's hidden layer for W1; None is the authors' wide one, embed * agents * actions."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig(MixingCriticConfig):
    """Options of SeCA and its ablations; the defaults are the published ones, with the compact critic."""

    actor_lr: Positive = 2.5e-3
    """Adam step size of the actor."""
    actor_epochs: Annotated[int, Range(1, 10_000)] = 1
    """Actor steps on each batch, all by the same advantages. Where there are several, the ratio of new to old
    probability is clipped as in PPO, and recurrent states stay those of the policy that acted."""
    clip: NonNegative = 0.2
    """How far that ratio may leave 1 before the loss is flat."""
    entropy_coef: NonNegative = 0.005
    """Xi, weight of the adaptive entropy term (Eq. 14)."""
    entropy: Literal["batch_mean", "per_sample", "alive_only"] = "batch_mean"
    """Form of the adaptive entropy: xi * H / sg(H) of the batch mean, of each agent and step (Eq. 14), or of the mean
    over agents that have a choice."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    credit: Literal["swept", "exact", "monte_carlo", "counterfactual", "independent", "shapley"] = "swept"
    """How an agent's advantage is computed from the critic."""
    credit_samples: Annotated[int, Range(1, 100_000)] = 8
    """Joint actions sampled per step by `monte_carlo`."""
    credit_orders: Annotated[int, Range(1, 100_000)] = 8
    """Orders that `shapley` averages over in each step: random ones and their reverses, or all of a small team."""
    td_correction: NonNegative = 0.0
    """W, how much of the critic's TD(lambda) error y - f(s, u) is added to every agent's advantage. 0 is the published
    advantage, which is as good as the critic is; with 1 what the critic gets wrong cancels in the mean."""
    order: Literal["gradients", "probability", "entropy", "fixed", "identity", "random"] = "gradients"
    """Who is judged first: by contribution along the episode (`path` has its options), by probability of the taken
    action or by entropy at each step, in one random order per run, in index order, or at random per episode."""
    path: GradientOrder = GradientOrder()
    """Options of order `gradients`."""


def check_numbers(config: Any, prefix: str = "") -> None:
    """Raise ValueError, naming field and value, for a number outside the range that stands on its field."""
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{prefix}{name}.")
            continue
        for bounds in found_in(hint):
            if value is not None and not bounds.holds(value):
                raise ValueError(f"`{prefix}{name}` is {value}; it must {bounds.words(value)}")
