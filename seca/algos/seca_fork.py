"""SeCA with a credit that was tried out: what other actions would have brought, found by forks of its own episodes.

Not in the paper. Held against forked battles, the sequential advantages of the mixing critic say little of what single
actions were worth (docs/credit.md). Here the environment itself answers, for some steps of each batch: there the actor
follows the sequential advantage by forks, in all others SeCA's own.
"""

import dataclasses
import functools
import math

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seca.algos import seca
from seca.algos.base import Algorithm, Forking
from seca.credit.named import CREDITS
from seca.credit.sequential import SWEPT
from seca.learning.acting import Acting
from seca.learning.devices import episode_keys
from seca.learning.forks import ForkOptions
from seca.learning.joint_critic import chunk_rows
from seca.learning.judging import Batch, Judging, judge
from seca.learning.options import check_numbers
from seca.learning.rows import pack
from seca.order.base import Order
from seca.order.named import ORDERS
from seca.types import EnvSpec, Episodes, TimeStep


@dataclasses.dataclass(frozen=True)
class SecaForkConfig(ForkOptions, seca.SecaConfig):
    """Options of SeCA, and how many forks it plays."""


def seca_fork(name: str, spec: EnvSpec, config: SecaForkConfig) -> Algorithm:
    """Build SeCA with a credit from forks, for one environment made of pure functions.

    Args:
        name: for run folders and messages.
        spec: the environment.
        config: options.

    Raises:
        ValueError: an option is out of range, the credit cannot serve the environment, or is not the sequential one.
    """
    check_numbers(config)
    credit = CREDITS[config.credit](config.credit_samples, config.credit_orders)
    if credit.kind != "sequential":
        names = [name for name, make in CREDITS.items() if make(1, 1).kind == "sequential"]
        raise ValueError(f"`credit` is {config.credit}; forks find the sequential one: choose {', '.join(names)}")
    order = ORDERS[config.order](config.path)
    own = seca.seca(name, spec, config, credit, order)
    forking = Forking(
        options=config,
        gamma=config.gamma,
        probs=lambda episodes: episodes.record.probs,
        order=functools.partial(order_of, spec=spec, config=config, order=order),
        value=functools.partial(value_of_policy, n_agents=spec.n_agents),
        update=functools.partial(update, spec=spec, config=config, judging=Judging(credit, order)),
    )
    return dataclasses.replace(own, forking=forking, memory=lambda batch: own.memory(batch) + held(batch, spec, config))


def order_of(
    learner: seca.Learner,
    episodes: Episodes,
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: SecaForkConfig,
    order: Order,
) -> Int[Array, "batch time agents"]:
    """Who is judged first, by the critic that the batch was played with."""
    packed, keys = pack(episodes.valid, chunk_rows(spec, config)), episode_keys(key, episodes.valid.shape[0], axis)
    batch = Batch(episodes, episodes.record.probs, packed, keys, axis)
    return judge(learner.critic.params, batch, Judging(SWEPT, order), learner.order).order


def value_of_policy(
    learner: seca.Learner, time_step: TimeStep, record: Acting, n_agents: int
) -> Float[Array, " lanes"]:
    """V(s) = f(s, pi)."""
    return learner.critic.params.weights(time_step.state, n_agents).value(record.probs)


def update(
    learner: seca.Learner,
    episodes: Episodes,
    tried: tuple[Float[Array, "batch time agents"], Bool[Array, "batch time"]],
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: SecaForkConfig,
    judging: Judging,
) -> tuple[seca.Learner, dict[str, Array]]:
    """SeCA's update, the actor following the credits by forks in the steps that have them."""
    return seca.update(learner, episodes, None, key, axis, spec, config, judging, tried)


def held(batch: int, spec: EnvSpec, config: SecaForkConfig) -> int:
    """Bytes held beside SeCA's own: all steps of the forked episodes once more, and the lanes; an estimate."""
    episodes = batch // math.gcd(batch, config.fork_every)
    step = spec.n_agents * (spec.obs_size + 3 * spec.n_actions + config.actor_hidden) + spec.state_size
    drawn = config.drawn * config.forks * spec.n_agents**2
    return 4 * episodes * (2 * step * spec.episode_limit + 3 * step * config.fork_lanes + drawn)
