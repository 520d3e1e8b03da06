"""SeCA and its ablations: a recurrent actor, a mixing critic, an advantage per agent and an order to judge in."""

import dataclasses
import functools
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.credit.base import Credit
from seca.credit.named import CREDITS
from seca.credit.sequential import SWEPT, swept_fast
from seca.distributions import log_prob_of
from seca.learning.acting import Acting, act_in, acting_over, fresh_agent, initial_carry
from seca.learning.buffer import Replay
from seca.learning.devices import episode_keys
from seca.learning.joint_critic import (
    CriticStep,
    MixingCriticConfig,
    chunk_rows,
    drawn_prefixes,
    fresh_mixing_critic,
    td_error,
    train_mixing_critic,
    working_floats,
)
from seca.learning.judging import Batch, Judged, Judging, judge
from seca.learning.measures import (
    count_steps,
    mean_of_choices,
    mean_over_steps,
    measure_actor,
    measure_advantage,
    measure_critic,
    measure_tried,
    share_of,
)
from seca.learning.memory import training_bytes, visited
from seca.learning.options import check_numbers
from seca.learning.policy_gradient import (
    ActorGradient,
    EntropyForm,
    Judgement,
    PolicyLoss,
    actor_gradient,
    clipped_score,
    score_function,
)
from seca.learning.rows import pack
from seca.learning.trained import Trained, clipped_adam, fresh
from seca.order.base import GradientOrder, Order
from seca.order.gradients import BY_GRADIENTS
from seca.order.named import ORDERS
from seca.ranges import Count, NonNegative, Positive, Range
from seca.sizes import sizes
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class SecaConfig(MixingCriticConfig):
    """Options of SeCA and its ablations; the defaults are the published ones, but for critic width and time limit."""

    actor_lr: Positive = 2.5e-3
    """Adam step size of the actor."""
    actor_epochs: Annotated[int, Range(1, 10_000)] = 1
    """Actor steps on each batch, all by the same advantages. Where there are several, the ratio of new to old
    probability is clipped as in PPO, and recurrent states stay those of the policy that acted."""
    clip: NonNegative = 0.2
    """How far that ratio may leave 1 before the loss is flat."""
    entropy_coef: NonNegative = 0.005
    """Xi, weight of the adaptive entropy term (Eq. 14)."""
    entropy: EntropyForm = "batch_mean"
    """Form of the adaptive entropy: xi * H / sg(H) of the batch mean, of each agent and step (Eq. 14), or of the mean
    over agents that have a choice. Of continuous actions a plain mean, xi * H."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    credit: Literal[*CREDITS] = "swept"  # pyrefly: ignore
    """How an agent's advantage is computed from the critic."""
    regress_at: Literal["auto", "actions", "prefixes"] = "auto"
    """What the critic is regressed at: joint actions, as published, or also policies in the place of some of them. Auto
    is `actions`, but `prefixes` where actions are continuous: a critic of these has seen no variance else."""
    credit_samples: Annotated[int, Range(1, 100_000)] = 8
    """Joint actions sampled per step by `monte_carlo`."""
    credit_orders: Annotated[int, Range(1, 100_000)] = 8
    """Orders that `shapley` averages over in each step: random ones and their reverses, or all of a small team."""
    td_correction: NonNegative = 0.0
    """W, how much of the critic's TD(lambda) error y - f(s, u) is added to every agent's advantage. 0 is the published
    advantage, which is as good as the critic is; with 1 what the critic gets wrong cancels in the mean."""
    order: Literal[*ORDERS] = "gradients"  # pyrefly: ignore
    """Who is judged first: by contribution along the episode (`path` has its options), by probability of the taken
    action or by entropy at each step, in one random order per run, in index order, or at random per episode."""
    path: GradientOrder = GradientOrder()
    """Options of order `gradients`."""


class Learner(eqx.Module):
    """Everything that SeCA learns or counts. Arrays only."""

    actor: Trained
    critic: Trained
    order: PyTree
    """What the order remembers: the run's random order of `fixed`, the last batch's contributions of `gradients`."""


def seca(
    name: str, spec: EnvSpec, config: SecaConfig, credit: Credit = SWEPT, order: Order = BY_GRADIENTS
) -> Algorithm:
    """Build SeCA, with a credit and an order, for one environment. Zang et al. 2023, section 3.

    Each update takes one batch of whole episodes: critic steps, then actor steps on advantages of the critic just
    stepped, then the batch is dropped.

    Args:
        name: for run folders and messages.
        spec: the environment.
        config: options; those that name credit and order are read by `named`, not here.
        credit: how an agent's action is valued by the critic.
        order: who is judged first.

    Raises:
        ValueError: an option is out of range, or the credit cannot serve the environment.
    """
    check_numbers(config)
    credit.check_serves(spec)
    bind = {"spec": spec, "config": config, "judging": Judging(credit, order)}
    return Algorithm(
        name=name,
        init=functools.partial(init, spec=spec, config=config, order=order),
        policy=lambda learner: learner.actor.params,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act_in(spec),
        update=functools.partial(update, **bind),
        memory=functools.partial(memory, **bind),
        claims=claims(**bind),
    )


def named(name: str, spec: EnvSpec, config: SecaConfig) -> Algorithm:
    """`seca` with the credit and the order that the options name."""
    check_numbers(config)
    credit = CREDITS[config.credit](config.credit_samples, config.credit_orders)
    return seca(name, spec, config, credit, ORDERS[config.order](config.path))


def init(key: PRNGKeyArray, spec: EnvSpec, config: SecaConfig, order: Order) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key, order_key, _ = jax.random.split(key, 4)
    actor = fresh_agent(actor_key, spec, config.actor_hidden, spec.action_width)
    return Learner(
        actor=fresh(actor, clipped_adam(config.actor_lr, config.clip_norm)),
        critic=fresh_mixing_critic(critic_key, spec, config),
        order=order.init(order_key, spec.n_agents),
    )


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: SecaConfig,
    judging: Judging,
    tried: tuple[Float[Array, "batch time agents"], Bool[Array, "batch time"]] | None = None,
) -> tuple[Learner, dict[str, Array]]:
    """Critic steps, then actor steps, one each as published. Zang et al. 2023, Fig. 3(c).

    1. TD(lambda) targets of the target critic; gradient, clipping, Adam step of the critic, `critic_epochs` times.
    2. Every `target_interval` critic steps the critic just stepped is copied into the target.
    3. Order and advantages by the critic just stepped; gradient, clipping, Adam step of the actor, `actor_epochs`
       times. With `td_correction` w, which is not in the paper, the actor follows

           A_i + w (y - f(s, u)),

       whose mean gradient for w = 1 and exact expectations over the agents yet to be judged is that of y, whatever f.
    Where credits were `tried` out, with which steps have them, it follows these alone (`algos.seca_fork`).
    """
    del replay  # On policy.
    count = count_steps(episodes, axis)
    acting = acting_over(learner.actor.params, episodes)
    keys = episode_keys(key, episodes.valid.shape[0], axis)
    told = at_prefixes(spec, config, judging)
    prefixes = drawn_prefixes(acting.probs, keys) if told else None
    packed = pack(episodes.valid, sizes().critic_rows if spec.box is None and not told else chunk_rows(spec, config))
    critic, regressed = train_mixing_critic(learner.critic, episodes, packed, config, count, axis, prefixes)
    batch = Batch(episodes, acting.probs, pack(episodes.valid, chunk_rows(spec, config)), keys, axis)
    judged = judge(critic.params, batch, judging, learner.order)
    correction = config.td_correction * jnp.where(episodes.valid, regressed.targets - judged.taken, 0)
    claimed, advantage = judged.advantage, judged.advantage + correction[..., None]
    if tried is not None:
        claimed, advantage = (jnp.where(tried[1][..., None], tried[0], rest) for rest in (claimed, advantage))
    actor, slope = train_actor(learner.actor, episodes, acting, advantage, config, axis)
    metrics = {"gradient_steps": critic.steps + actor.steps}
    metrics |= measure(episodes, acting, regressed, judged, slope, judging, axis)
    if config.td_correction:
        metrics["correction_abs"] = mean_over_steps(jnp.abs(correction), episodes, axis)
        followed = (mean_of_choices(jnp.abs(signal), episodes, axis) for signal in (claimed, advantage))
        metrics["credit_share"] = share_of(*followed)
    if tried is not None:
        metrics |= measure_tried(episodes, judged.advantage, *tried, axis)
    return Learner(actor, critic, judged.state), metrics


def at_prefixes(spec: EnvSpec, config: SecaConfig, judging: Judging) -> bool:
    """Whether the critic is regressed at policies too."""
    needed = spec.box is not None and judging.asks_of_policies
    return needed if config.regress_at == "auto" else config.regress_at == "prefixes"


def train_actor(
    actor: Trained,
    episodes: Episodes,
    acting: Acting,
    advantage: Float[Array, "batch time agents"],
    config: SecaConfig,
    axis: str | None,
) -> tuple[Trained, ActorGradient]:
    """All gradient steps of the actor on one batch; the measures are those of the first.

    The first step is the published one (Eq. 13 to 16), whether or not ratios are clipped: they are 1 there.
    """
    if config.actor_epochs == 1:
        signal, of_row = advantage, score_function
    else:
        old_log_prob = log_prob_of(acting.probs[:, :-1], episodes.actions[:, :-1], episodes.valid[..., None])
        signal, of_row = Judgement(advantage, old_log_prob), functools.partial(clipped_score, clip=config.clip)
    loss = PolicyLoss(of_row, config.entropy_coef, config.entropy)
    optimiser = clipped_adam(config.actor_lr, config.clip_norm)

    def step(before: Trained, _: None) -> tuple[Trained, ActorGradient]:
        slope = actor_gradient(before.params, loss, episodes, acting, signal, axis)
        return before.step(slope.gradient, optimiser), slope

    after, slopes = jax.lax.scan(step, actor, length=config.actor_epochs)
    return after, jax.tree.map(lambda x: x[0], slopes)


def claims(spec: EnvSpec, config: SecaConfig, judging: Judging, own: bool = True) -> Claims:
    """Each agent's advantage, as an update on these episodes would take it without critic steps before.

    Where the order is not the run's `own`, it begins anew, and remembers nothing.
    """

    def fn(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray) -> Claim:
        del env_steps  # No schedules.
        acting, critic = acting_over(learner.actor.params, episodes), learner.critic
        packed = pack(episodes.valid, chunk_rows(spec, config))
        keys = episode_keys(key, episodes.valid.shape[0], None)
        state = learner.order if own else judging.order.init(jax.random.key(0), spec.n_agents)
        judged = judge(critic.params, Batch(episodes, acting.probs, packed, keys, None), judging, state)
        error = td_error(critic, episodes, packed, config, config.td_lambda)
        signal = judged.advantage + config.td_correction * error[..., None] if config.td_correction else None
        order = judged.order if judging.credit.reads_order else None
        return Claim(judged.advantage, order, signal, error, judged.per_step, acting.probs[:, :-1], judged.expected)

    def under(another: Credit | None, differently: Order | None) -> Claims:
        credit, order = another or judging.credit, differently or judging.order
        same = (order.name, order.path) == (judging.order.name, judging.order.path)
        return claims(spec, config, Judging(credit, judging.order if same else order), own and same)

    return Claims(judging.credit.kind, fn, under, telescopes=judging.credit.fast is swept_fast)


def measure(
    episodes: Episodes,
    acting: Acting,
    regressed: CriticStep,
    judged: Judged,
    slope: ActorGradient,
    judging: Judging,
    axis: str | None,
) -> dict[str, Array]:
    """Scales and losses, and each agent's place and contribution.

    `rank_mean` is each agent's mean position (0 is judged first), `contribution_mean` its mean contribution per
    episode. Only what was really computed: no ranks without an order, no contributions without integrated gradients.
    """
    found = measure_critic(episodes, regressed.taken, regressed.targets, regressed.loss, regressed.gradient_norm, axis)
    found |= measure_actor(episodes, acting, slope, axis) | measure_advantage(episodes, judged.advantage, axis)
    if judging.credit.reads_order:
        rank = jnp.argsort(judged.order, axis=-1).astype(judged.advantage.dtype)
        found["rank_mean"] = mean_over_steps(rank, episodes, axis)
    if judged.team_mean is not None:
        found["contribution_mean"] = judged.team_mean
    return found


def memory(batch: int, spec: EnvSpec, config: SecaConfig, judging: Judging) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config, order=judging.order), jax.random.key(0))
    per_agent = 3 * spec.action_width + 2 * config.critic_embed + 2 * config.actor_hidden
    floats = judging.credit.floats(spec.n_agents, spec.action_width, config.critic_embed)
    working = working_floats(spec, config, batch) + visited(chunk_rows(spec, config), spec, batch) * floats
    return training_bytes(learner, spec, batch, per_agent, working)
