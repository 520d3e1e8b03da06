"""SeCA's update: blind to padding, the same on any number of devices, equal to its plain twin step by step."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, LENGTHS, SPEC, in_float64, plain_actor_loss, random_episodes, updated
from jax.sharding import Mesh, PartitionSpec
from reference import assert_trees_close, float64_fixture, with_record
from tiers import cases

from seca.algos.seca import Learner, SecaConfig, at_prefixes, memory, named
from seca.credit.named import CREDITS
from seca.credit.sequential import SWEPT, swept, swept_fast
from seca.learning.acting import acting_over
from seca.learning.joint_critic import chunk_rows, regression_targets
from seca.learning.judging import Judging
from seca.learning.rows import pack
from seca.learning.trained import clipped_adam
from seca.nets.agents import agent_inputs
from seca.order.base import GradientOrder
from seca.order.gradients import BY_GRADIENTS
from seca.order.named import ORDERS
from seca.policies import entropy, masked_log_probs
from seca.types import EnvSpec, Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = SecaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def learner_of(config: SecaConfig) -> Learner:
    learner = named("test", SPEC, config).init(jax.random.key(1))
    # A target that differs from the critic.
    target = jax.tree.map(lambda x: 0.9 * x, learner.critic.params)
    moved = dataclasses.replace(learner, critic=dataclasses.replace(learner.critic, target=target))
    return in_float64(moved)


@functools.lru_cache
def compiled(config: SecaConfig):
    return jax.jit(functools.partial(updated, named("test", SPEC, config)))


def test_padding_does_not_matter(float64: None) -> None:
    """T10: garbage in the padding changes neither parameters nor metrics."""
    update, learner = compiled(CONFIG), learner_of(CONFIG)
    clean = update(learner, random_episodes(), jax.random.key(0))
    garbage = update(learner, random_episodes(garbage=50.0), jax.random.key(0))
    assert_trees_close(garbage, clean, 1e-12)


@pytest.mark.parametrize(
    ("spec", "changes", "expected"),
    [
        (SPEC, {}, False),
        (SPEC, {"regress_at": "prefixes"}, True),
        pytest.param(BOXED, {}, True, marks=pytest.mark.every),
        pytest.param(BOXED, {"regress_at": "actions"}, False, marks=pytest.mark.every),
        (BOXED, {"credit": "monte_carlo"}, True),  # The order asks.
        (BOXED, {"credit": "monte_carlo", "order": "random"}, False),
        pytest.param(
            *(BOXED, {"credit": "monte_carlo", "order": "random", "regress_at": "prefixes"}, True),
            marks=pytest.mark.every,
        ),
    ],
)
def test_what_the_critic_is_regressed_at(spec: EnvSpec, changes: dict, expected: bool, float64: None) -> None:
    """By default at actions, and at policies too where actions are continuous and anybody asks for these."""
    config = dataclasses.replace(CONFIG, **changes)
    credit, order = CREDITS[config.credit](8, 8), ORDERS[config.order](config.path)
    assert at_prefixes(spec, config, Judging(credit, order)) == expected
    episodes, key = random_episodes(spec=spec), jax.random.key(0)
    found = []
    for at in (config.regress_at, "prefixes" if expected else "actions", "actions" if expected else "prefixes"):
        algorithm = named("test", spec, dataclasses.replace(config, regress_at=at))
        learner = in_float64(algorithm.init(jax.random.key(0)))
        found.append(jax.jit(functools.partial(updated, algorithm))(learner, episodes, key)[0].critic.params)
    assert_trees_close(found[0], found[1], 0.0)
    apart = [float(jnp.abs(x - y).max()) for x, y in zip(*(jax.tree.leaves(f) for f in found[1:]), strict=True)]
    assert max(apart) > 1e-6


def test_recorded_hidden_states_serve_as_the_forward_pass(float64: None) -> None:
    """What acting recorded gives the update that a re-unroll gives."""
    learner, episodes = learner_of(CONFIG), random_episodes()
    again = compiled(CONFIG)(learner, episodes, jax.random.key(0))
    recorded = compiled(CONFIG)(learner, with_record(learner.actor.params, episodes), jax.random.key(0))
    assert_trees_close(recorded, again, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", cases([2, 4]))
def test_any_number_of_devices_gives_the_same_update(n_devices: int, float64: None) -> None:
    """Losses, entropy means and clip norms are global; episode lengths are unequal within and between devices."""
    config = dataclasses.replace(CONFIG, clip_norm=0.01, entropy="alive_only")
    learner, episodes = learner_of(config), random_episodes()
    update = functools.partial(updated, named("test", SPEC, config), axis="runners")
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    mesh = Mesh(jax.devices()[:n_devices], ("runners",))
    shared = jax.jit(
        jax.shard_map(
            update, mesh=mesh, in_specs=(everywhere, split, everywhere), out_specs=everywhere, check_vma=False
        )
    )
    alone = compiled(config)(learner, episodes, jax.random.key(0))
    assert_trees_close(shared(learner, episodes, jax.random.key(0)), alone, 1e-10)


def test_dead_agents_move_nothing(float64: None) -> None:
    """T8: an agent with one possible action has no credit, and its rows give the actor no gradient."""
    learner, episodes = learner_of(CONFIG), random_episodes()
    only = jnp.broadcast_to(jnp.arange(SPEC.n_actions) == 0, episodes.avail.shape)
    dead = dataclasses.replace(episodes, avail=only, actions=jnp.zeros_like(episodes.actions))
    stepped, metrics = compiled(CONFIG)(learner, dead, jax.random.key(0))
    assert float(metrics["advantage_abs"]) == 0.0
    assert float(metrics["actor_gradient_norm"]) == 0.0
    assert float(metrics["alive_share"]) == 0.0
    assert_trees_close(stepped.actor.params, learner.actor.params, 0.0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))


def test_time_limit_option(float64: None) -> None:
    """`bootstrap` uses the last state of a truncated episode, `terminal` does not; terminated ones are alike."""
    episodes, learner = random_episodes(), learner_of(CONFIG)
    terminal = dataclasses.replace(CONFIG, time_limit="terminal")
    ended = dataclasses.replace(
        episodes, terminated=episodes.terminated | episodes.truncated, truncated=jnp.zeros_like(episodes.truncated)
    )
    as_end = compiled(CONFIG)(learner, ended, jax.random.key(0))
    assert_trees_close(compiled(terminal)(learner, episodes, jax.random.key(0)), as_end, 1e-12)
    bootstrapped = compiled(CONFIG)(learner, episodes, jax.random.key(0))
    assert abs(float(bootstrapped[1]["critic_loss"] - as_end[1]["critic_loss"])) > 1e-3


def test_target_is_copied_on_schedule(float64: None) -> None:
    config = dataclasses.replace(CONFIG, target_interval=2)
    learner, episodes = learner_of(config), random_episodes()
    first, _ = compiled(config)(learner, episodes, jax.random.key(0))
    assert_trees_close(first.critic.target, learner.critic.target, 0.0)
    second, _ = compiled(config)(first, episodes, jax.random.key(0))
    assert_trees_close(second.critic.target, second.critic.params, 0.0)


@pytest.mark.slow
def test_critic_epochs_share_their_targets(float64: None) -> None:
    """Two gradient steps on a batch are two steps towards the targets of the first."""
    twice = dataclasses.replace(CONFIG, critic_epochs=2)
    learner, episodes = learner_of(CONFIG), random_episodes()
    once, first = compiled(CONFIG)(learner, episodes, jax.random.key(0))
    again, _ = compiled(CONFIG)(
        dataclasses.replace(once, actor=learner.actor), episodes, jax.random.key(0)
    )  # The target has not moved, so a second update regresses to the same targets.
    both, metrics = compiled(twice)(learner, episodes, jax.random.key(0))
    assert_trees_close(both.critic.params, again.critic.params, 1e-12)
    assert_trees_close(metrics["critic_loss"], first["critic_loss"], 1e-12)
    assert int(both.critic.steps) == 2


def plain_clipped_loss(agent, acted, episodes: Episodes, advantage, coef: float, clip: float) -> jax.Array:
    """PPO's loss row by row: recurrent states have the recorded value, and gradients go back through the network."""
    taken = jnp.moveaxis(jax.nn.one_hot(episodes.actions, SPEC.n_actions), 1, 0)
    following, last, logits = jnp.zeros((len(LENGTHS), SPEC.n_agents, 8)), jnp.zeros_like(taken[0]), []
    for t in range(SPEC.episode_limit + 1):
        hidden = acted.hidden[:, t] + following - jax.lax.stop_gradient(following)
        following, row = agent(agent_inputs(episodes.obs[:, t], last), hidden)
        logits.append(row)
        last = taken[t]
    log_probs = masked_log_probs(jnp.stack(logits, axis=1), episodes.avail)[:, :-1]
    index = episodes.actions[:, :-1, :, None]
    new, old = (jnp.take_along_axis(p, index, axis=-1)[..., 0] for p in (jnp.exp(log_probs), acted.probs[:, :-1]))
    mask, samples = episodes.valid[..., None], episodes.valid.sum() * SPEC.n_agents
    ratio = jnp.where(mask, new / jnp.where(mask, old, 1), 1)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
    mean, before = (jnp.where(mask, entropy(p), 0).sum() / samples for p in (jnp.exp(log_probs), acted.probs[:, :-1]))
    return -jnp.where(mask, gain, 0).sum() / samples - coef * mean / before


def test_actor_epochs_equal_the_plain_ones(float64: None) -> None:
    """Several clipped steps on a batch against autodiff; with step sizes at which some ratios are clipped."""
    config = dataclasses.replace(CONFIG, actor_epochs=3, actor_lr=0.05, entropy_coef=0.3, order="identity")
    learner, episodes = learner_of(config), random_episodes()
    once, first = compiled(dataclasses.replace(config, actor_epochs=1))(learner, episodes, jax.random.key(0))
    found, metrics = compiled(config)(learner, episodes, jax.random.key(0))
    acted = acting_over(learner.actor.params, episodes)
    critic = lambda state, inputs: once.critic.params.weights(state, SPEC.n_agents).value(inputs)  # noqa: E731

    def credit(state, probs, action):
        q_fn = functools.partial(critic, state)
        return swept(q_fn, probs, action, jnp.arange(SPEC.n_agents), jax.random.key(0))

    advantage = jax.vmap(jax.vmap(credit))(episodes.state[:, :-1], acted.probs[:, :-1], episodes.actions[:, :-1])
    actor, opt = learner.actor.params, learner.actor.opt
    slope_of = jax.jit(jax.grad(functools.partial(plain_clipped_loss, coef=0.3, clip=0.2)))
    step = jax.jit(clipped_adam(0.05, 10.0).update)
    for number in range(3):
        moves, opt = step(slope_of(actor, acted, episodes, advantage), opt)
        actor = eqx.apply_updates(actor, moves)
        if number == 0:  # Ratios are 1: the published step.
            assert_trees_close(actor, once.actor.params, 1e-9)
    assert_trees_close(found.actor.params, actor, 1e-9)
    new, index = acting_over(actor, episodes).probs[:, :-1], episodes.actions[:, :-1, :, None]
    ratio = jnp.take_along_axis(new / acted.probs[:, :-1], index, axis=-1)[..., 0][episodes.valid]
    assert float((jnp.abs(ratio - 1) > 0.2).mean()) > 0.05
    np.testing.assert_allclose(metrics["actor_gradient_norm"], first["actor_gradient_norm"], rtol=1e-9)
    assert int(metrics["gradient_steps"]) == 1 + 3
    assert_trees_close(found.critic, once.critic, 0.0)


def test_correction_adds_the_td_error_to_every_agent(float64: None) -> None:
    """A_i + w (y - f(s, u)) by the critic just stepped, against the gradient of its plain form."""
    config = dataclasses.replace(CONFIG, td_correction=0.7, order="identity", entropy_coef=0.3)
    learner, episodes = learner_of(config), random_episodes(garbage=1.0)
    found, metrics = compiled(config)(learner, episodes, jax.random.key(0))
    target = learner.critic.target
    targets = regression_targets(target, episodes, pack(episodes.valid, 5), config.gamma, config.td_lambda, "bootstrap")
    weights = found.critic.params.weights(episodes.state[:, :-1], SPEC.n_agents)
    error = jnp.where(episodes.valid, targets - weights.taken_value(episodes.actions[:, :-1]), 0)
    acted = acting_over(learner.actor.params, episodes)
    index_order = jnp.broadcast_to(jnp.arange(SPEC.n_agents), (*episodes.valid.shape, SPEC.n_agents))
    credit = swept_fast(weights.mix(acted.probs[:, :-1], episodes.actions[:, :-1]), index_order)
    advantage = credit + 0.7 * error[..., None]
    slope = jax.jit(jax.grad(plain_actor_loss), static_argnums=4)(
        learner.actor.params, episodes, advantage, 0.3, "batch_mean"
    )
    moves, _ = jax.jit(clipped_adam(config.actor_lr, config.clip_norm).update)(slope, learner.actor.opt)
    assert_trees_close(found.actor.params, eqx.apply_updates(learner.actor.params, moves), 1e-9)
    expected = 0.7 * jnp.abs(error).sum() / episodes.valid.sum()
    np.testing.assert_allclose(metrics["correction_abs"], expected, rtol=1e-9)
    real = episodes.valid[..., None] & (episodes.avail[:, :-1].sum(axis=-1) > 1)  # Others follow nothing.
    assert 0 < real.sum() < episodes.valid.sum() * SPEC.n_agents
    share = jnp.abs(jnp.where(real, credit, 0)).sum() / jnp.abs(jnp.where(real, advantage, 0)).sum()
    np.testing.assert_allclose(metrics["credit_share"], share, rtol=1e-9)


BAD = [
    ({"actor_lr": 0.0}, "`actor_lr` is 0.0"),
    ({"critic_lr": -1.0}, "`critic_lr` is -1.0"),
    ({"gamma": 1.5}, "`gamma` is 1.5"),
    ({"td_lambda": -0.1}, "`td_lambda` is -0.1"),
    ({"entropy_coef": -1.0}, "`entropy_coef` is -1.0"),
    ({"target_interval": 0}, "`target_interval` is 0"),
    ({"critic_width": 0}, "`critic_width` is 0"),
    ({"actor_epochs": 0}, "`actor_epochs` is 0"),
    ({"path": GradientOrder(points=0)}, "`path.points` is 0"),
    ({"path": GradientOrder(stage=0)}, "`path.stage` is 0"),
    ({"path": GradientOrder(stage=3, reduce="batch_mean")}, "`path.stage` is 3"),
    ({"path": GradientOrder(source="previous")}, "`path.source` previous"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_options_are_refused_in_words(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named("test", SPEC, dataclasses.replace(CONFIG, **changes))


def test_exact_credit_refuses_large_teams() -> None:
    large = EnvSpec("large", "1", n_agents=5, n_actions=11, obs_size=80, state_size=120, episode_limit=120)
    with pytest.raises(ValueError, match=r"`credit` exact enumerates 11\^5 joint actions, above"):
        named("test", large, dataclasses.replace(CONFIG, credit="exact"))


def test_shapley_refuses_orders_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match=r"`credit_orders` is 5; .* at least the 6 orders of 3 agents"):
        named("test", SPEC, dataclasses.replace(CONFIG, credit="shapley", credit_orders=5))


def test_memory_estimate_grows_with_the_critic() -> None:
    large = EnvSpec("large", "1", n_agents=10, n_actions=18, obs_size=176, state_size=322, episode_limit=180)
    compact = memory(32, large, SecaConfig(), Judging(SWEPT, BY_GRADIENTS))
    wide = memory(32, large, SecaConfig(critic_width=None), Judging(SWEPT, BY_GRADIENTS))
    assert compact < 2**32 < wide  # The wide critic of MMM2 has 137M parameters, each held many times.
    assert chunk_rows(large, SecaConfig(critic_width=None)) >= 512
