"""The packed update: equal to its plain twin, blind to padding, the same on any number of devices."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import LENGTHS, SPEC, in_float64, random_episodes
from jax.sharding import Mesh, PartitionSpec
from reference import assert_trees_close, float64_fixture, with_record

from seca.algos.actor_critic import Learner, actor_critic, chunk_rows, init, memory
from seca.algos.actor_step import actor_gradient, masked_log_probs, unroll
from seca.algos.config import ActorCriticConfig
from seca.algos.credit_pass import judge
from seca.algos.critic_step import regression
from seca.algos.optim import clipped_adam
from seca.algos.packing import Chunk, over_chunks, pack, room_for, unpack, write
from seca.credit.counterfactual import counterfactual, independent
from seca.credit.sequential import exact, monte_carlo, swept
from seca.credit.shapley import shapley
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.order.gradients import GradientOrder, by_contribution
from seca.order.simple import entropy
from seca.types import EnvSpec, Episodes

pytestmark = [pytest.mark.usefixtures("quick_programs"), pytest.mark.slow]

_ = float64_fixture
CONFIG = ActorCriticConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def learner_of(config: ActorCriticConfig) -> Learner:
    learner = init(jax.random.key(1), SPEC, config)
    # A target that differs from the critic.
    moved = dataclasses.replace(learner, target=jax.tree.map(lambda x: 0.9 * x, learner.critic))
    return in_float64(moved)


@functools.lru_cache
def compiled(config: ActorCriticConfig):
    return jax.jit(functools.partial(actor_critic("test", SPEC, config).update, axis=None))


def plain_actor_loss(agent, episodes: Episodes, advantage, coef: float, form: str) -> jax.Array:
    """Eq. 13 to 16 over the whole padded batch, differentiated through the unrolled network."""
    taken = jnp.moveaxis(jax.nn.one_hot(episodes.actions, SPEC.n_actions), 1, 0)
    hidden, last, logits = jnp.zeros((len(LENGTHS), SPEC.n_agents, 8)), jnp.zeros_like(taken[0]), []
    for t in range(SPEC.episode_limit + 1):
        hidden, row = agent(agent_inputs(episodes.obs[:, t], last), hidden)
        logits.append(row)
        last = taken[t]
    log_probs = masked_log_probs(jnp.stack(logits, axis=1), episodes.avail)[:, :-1]
    chosen = jnp.take_along_axis(log_probs, episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
    mask = episodes.valid[..., None]
    samples = episodes.valid.sum() * SPEC.n_agents
    policy = -jnp.where(mask, chosen * advantage, 0).sum() / samples
    entropies = entropy(jnp.exp(log_probs))
    choice = mask & (episodes.avail[:, :-1].sum(axis=-1) > 1)
    if form == "per_sample":  # xi log H has the gradient of Eq. 14.
        return policy - coef * jnp.where(choice, jnp.log(jnp.where(choice, entropies, 1)), 0).sum() / samples
    counted = choice if form == "alive_only" else jnp.broadcast_to(mask, entropies.shape)
    mean = jnp.where(counted, entropies, 0).sum() / counted.sum()
    return policy - coef * mean / jax.lax.stop_gradient(mean)


@pytest.mark.parametrize("form", ["batch_mean", "per_sample", "alive_only"])
def test_actor_gradient_equals_plain_autodiff(form: Any, float64: None) -> None:
    """T7 for each form: the adaptive entropy's gradient is that of xi H / sg(H), or of xi log H per sample."""
    agent, episodes = learner_of(CONFIG).actor, random_episodes(garbage=1.0)
    advantage = jnp.asarray(np.random.default_rng(5).normal(size=(len(LENGTHS), SPEC.episode_limit, SPEC.n_agents)))
    found = jax.jit(lambda a: actor_gradient(a, episodes, unroll(a, episodes), advantage, 0.3, form, None).gradient)(
        agent
    )
    expected = jax.jit(jax.grad(plain_actor_loss), static_argnums=4)(agent, episodes, advantage, 0.3, form)
    assert_trees_close(found, expected, 1e-10)


def judge_with(config: ActorCriticConfig, chunk: int, episodes: Episodes):
    learner = learner_of(config)
    return jax.jit(
        lambda critic, probs: judge(
            critic,
            episodes,
            probs,
            pack(episodes.valid, chunk),
            chunk,
            config,
            jnp.array([2, 0, 1]),
            jnp.array([0.1, 0.3, 0.2]),
            jax.random.split(jax.random.key(0), len(LENGTHS)),
            None,
        )
    )(learner.critic, unroll(learner.actor, episodes).probs)


PATHS = {
    "episode": GradientOrder(),
    "midpoint": GradientOrder(points=2, rule="midpoint"),
    "eq18": GradientOrder(sign="eq18"),
    "step": GradientOrder(stage=1),
    "blocks": GradientOrder(stage=3),
    "sliding": GradientOrder(stage=3, window="sliding"),
    "last_step": GradientOrder(end="last_step"),
}


@pytest.mark.parametrize("name", PATHS)
def test_packed_order_and_advantages_equal_the_plain_functions(name: str, float64: None) -> None:
    """The packed closed-form pass against autodiff integrated gradients and `swept`, one step at a time."""
    config = dataclasses.replace(CONFIG, path=PATHS[name])
    episodes, learner = random_episodes(), learner_of(config)
    judged = judge_with(config, 5, episodes)
    probs = unroll(learner.actor, episodes).probs

    def critic(state, inputs):
        return learner.critic.weights(state, SPEC.n_agents).value(inputs)

    order, contribution = jax.jit(jax.vmap(lambda s, p, v: by_contribution(critic, s, p, v, PATHS[name])))(
        episodes.state, probs, episodes.valid
    )
    mask = np.asarray(episodes.valid)
    np.testing.assert_allclose(np.asarray(judged.contribution)[mask], np.asarray(contribution)[mask], atol=1e-10)
    np.testing.assert_array_equal(np.asarray(judged.order)[mask], np.asarray(order)[mask])

    def credit(state, pi, action, sequence):
        return swept(lambda v: critic(state, v), pi, action, sequence, jax.random.key(0))

    plain = jax.jit(jax.vmap(jax.vmap(credit)))(episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1], order)
    np.testing.assert_allclose(np.asarray(judged.advantage)[mask], np.asarray(plain)[mask], atol=1e-10)
    assert (np.asarray(judged.advantage)[~mask] == 0).all()


@pytest.mark.parametrize(
    ("credit", "plain"),
    [("counterfactual", counterfactual), ("independent", independent), ("exact", exact), ("shapley", shapley)],
)
def test_other_credits_equal_the_plain_functions(credit: Any, plain, float64: None) -> None:
    config = dataclasses.replace(CONFIG, credit=credit, order="fixed")
    episodes, learner = random_episodes(), learner_of(config)
    judged = judge_with(config, 5, episodes)
    probs = unroll(learner.actor, episodes).probs

    def one(state, pi, action):
        weights = learner.critic.weights(state, SPEC.n_agents)
        return plain(weights.value, pi, action, jnp.array([2, 0, 1]), jax.random.key(0))

    expected = jax.jit(jax.vmap(jax.vmap(one)))(episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1])
    mask = np.asarray(episodes.valid)
    np.testing.assert_allclose(np.asarray(judged.advantage)[mask], np.asarray(expected)[mask], atol=1e-10)


def test_monte_carlo_in_training_draws_by_episode_and_step(float64: None) -> None:
    """The packed pass gives each step the draw of its own key, whatever the chunks."""
    config = dataclasses.replace(CONFIG, credit="monte_carlo", order="fixed", credit_samples=3)
    episodes, learner = random_episodes(), learner_of(config)
    small, large = judge_with(config, 3, episodes), judge_with(config, 64, episodes)
    assert_trees_close(small.advantage, large.advantage, 1e-12)
    probs = unroll(learner.actor, episodes).probs
    keys = jax.vmap(lambda key: jax.random.split(key)[1])(jax.random.split(jax.random.key(0), len(LENGTHS)))

    def one(key, t, state, pi, action):
        weights = learner.critic.weights(state, SPEC.n_agents)
        own = jax.random.fold_in(key, t)
        return monte_carlo(weights.value, pi, action, jnp.array([2, 0, 1]), own, samples=3)

    over_time = jax.vmap(one, (None, 0, 0, 0, 0))
    steps = jnp.arange(SPEC.episode_limit)
    expected = jax.jit(jax.vmap(over_time, (0, None, 0, 0, 0)))(
        keys, steps, episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1]
    )
    mask = np.asarray(episodes.valid)
    np.testing.assert_allclose(np.asarray(small.advantage)[mask], np.asarray(expected)[mask], atol=1e-10)


def test_actor_gradient_is_the_policy_gradient(float64: None) -> None:
    """T12: with Q fixed and exact credits, the loss gradient averaged over all joint actions is -grad E Q / n."""
    rng = np.random.default_rng(3)
    table = jnp.asarray(rng.normal(size=(2, 2, 2)))
    joints = jnp.asarray(np.indices((2, 2, 2)).reshape(3, -1).T)
    agent = jax.tree.map(lambda x: x.astype(jnp.float64), RecurrentAgent.init(jax.random.key(4), 2 + 2 + 3, 5, 2))
    obs = jnp.asarray(rng.normal(size=(3, 2)))

    def episode(joint) -> Episodes:
        return Episodes(
            reward=jnp.zeros((1, 1)),
            terminated=jnp.ones((1, 1), bool),
            truncated=jnp.zeros((1, 1), bool),
            valid=jnp.ones((1, 1), bool),
            obs=jnp.broadcast_to(obs, (1, 2, 3, 2)),
            state=jnp.zeros((1, 2, 1)),
            avail=jnp.ones((1, 2, 3, 2), bool),
            actions=jnp.broadcast_to(joint, (1, 2, 3)),
        )

    def q_fn(rows):
        return jnp.einsum("abc,a,b,c->", table, *rows)

    def policies(module):
        return unroll(module, episode(joints[0])).probs[0, 0]

    def weighted(joint):
        probs = policies(agent)
        credit = exact(q_fn, probs, joint, jnp.array([1, 2, 0]), jax.random.key(0))
        batch = episode(joint)
        found = actor_gradient(agent, batch, unroll(agent, batch), credit[None, None], 0.0, "batch_mean", None)
        weight = jnp.take_along_axis(probs, joint[:, None], axis=1).prod()
        return jax.tree.map(lambda g: weight * g, found.gradient)

    total = jax.tree.map(lambda g: g.sum(axis=0), jax.jit(lambda: jax.lax.map(weighted, joints))())
    expected = jax.grad(lambda module: -q_fn(policies(module)) / 3)(agent)
    assert_trees_close(total, expected, 1e-10)


def test_orders_shared_by_the_batch(float64: None) -> None:
    """`batch_mean` gives all episodes the order of the mean contribution; `previous` that of the batch before."""
    episodes = random_episodes()
    same = judge_with(dataclasses.replace(CONFIG, path=GradientOrder(reduce="batch_mean")), 5, episodes)
    own = judge_with(CONFIG, 5, episodes)
    np.testing.assert_allclose(same.team_mean, np.asarray(own.contribution)[:, 0].mean(axis=0), atol=1e-12)
    assert (np.asarray(same.order) == np.argsort(-np.asarray(same.team_mean))).all()
    before = GradientOrder(reduce="batch_mean", source="previous")
    earlier = judge_with(dataclasses.replace(CONFIG, path=before), 5, episodes)
    assert (np.asarray(earlier.order) == np.array([1, 2, 0])).all()


@pytest.mark.parametrize("order", ["probability", "entropy", "fixed", "identity", "random"])
def test_simple_orders_are_permutations(order: Any, float64: None) -> None:
    judged = judge_with(dataclasses.replace(CONFIG, order=order), 5, random_episodes())
    found = np.asarray(judged.order)
    assert (np.sort(found, axis=-1) == np.arange(SPEC.n_agents)).all()
    if order == "fixed":
        assert (found == [2, 0, 1]).all()
    if order == "identity":
        assert (found == [0, 1, 2]).all()
    if order == "random":
        assert (found == found[:, :1]).all() and len({tuple(row) for row in found[:, 0]}) > 1


def test_chunk_size_does_not_matter(float64: None) -> None:
    episodes = random_episodes()
    small, large = judge_with(CONFIG, 3, episodes), judge_with(CONFIG, 64, episodes)
    assert_trees_close(small, large, 1e-12)


def test_padding_does_not_matter(float64: None) -> None:
    """T10: garbage in the padding changes neither parameters nor metrics."""
    update, learner = compiled(CONFIG), learner_of(CONFIG)
    clean = update(learner, random_episodes(), jax.random.key(0))
    garbage = update(learner, random_episodes(garbage=50.0), jax.random.key(0))
    assert_trees_close(garbage, clean, 1e-12)


def test_recorded_hidden_states_serve_as_the_forward_pass(float64: None) -> None:
    """What acting recorded gives the update that a re-unroll gives."""
    learner, episodes = learner_of(CONFIG), random_episodes()
    again = compiled(CONFIG)(learner, episodes, jax.random.key(0))
    recorded = compiled(CONFIG)(learner, with_record(learner.actor, episodes), jax.random.key(0))
    assert_trees_close(recorded, again, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [2, 4])
def test_any_number_of_devices_gives_the_same_update(n_devices: int, float64: None) -> None:
    """Losses, entropy means and clip norms are global; episode lengths are unequal within and between devices."""
    config = dataclasses.replace(CONFIG, clip_norm=0.01, entropy="alive_only")
    learner, episodes = learner_of(config), random_episodes()
    update = functools.partial(actor_critic("test", SPEC, config).update, axis="runners")
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
    assert_trees_close(stepped.actor, learner.actor, 0.0)
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
    assert_trees_close(first.target, learner.target, 0.0)
    second, _ = compiled(config)(first, episodes, jax.random.key(0))
    assert_trees_close(second.target, second.critic, 0.0)


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
    assert_trees_close(both.critic, again.critic, 1e-12)
    assert_trees_close(metrics["critic_loss"], first["critic_loss"], 1e-12)
    assert int(both.critic_steps) == 2


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
    acted = unroll(learner.actor, episodes)
    critic = lambda state, inputs: once.critic.weights(state, SPEC.n_agents).value(inputs)  # noqa: E731

    def credit(state, probs, action):
        q_fn = functools.partial(critic, state)
        return swept(q_fn, probs, action, jnp.arange(SPEC.n_agents), jax.random.key(0))

    advantage = jax.vmap(jax.vmap(credit))(episodes.state[:, :-1], acted.probs[:, :-1], episodes.actions[:, :-1])
    actor, opt = learner.actor, learner.actor_opt
    slope_of = jax.jit(jax.grad(functools.partial(plain_clipped_loss, coef=0.3, clip=0.2)))
    for number in range(3):
        moves, opt = clipped_adam(0.05, 10.0).update(slope_of(actor, acted, episodes, advantage), opt)
        actor = eqx.apply_updates(actor, moves)
        if number == 0:  # Ratios are 1: the published step.
            assert_trees_close(actor, once.actor, 1e-9)
    assert_trees_close(found.actor, actor, 1e-9)
    new, index = unroll(actor, episodes).probs[:, :-1], episodes.actions[:, :-1, :, None]
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
    packed = pack(episodes.valid, 5)
    targets = regression(learner.target, episodes, packed, 5, config.gamma, config.td_lambda, False).targets
    weights = found.critic.weights(episodes.state[:, :-1], SPEC.n_agents)
    error = jnp.where(episodes.valid, targets - weights.taken_value(episodes.actions[:, :-1]), 0)
    acted = unroll(learner.actor, episodes)
    credit = weights.mix(acted.probs[:, :-1], episodes.actions[:, :-1]).sequential(
        jnp.broadcast_to(jnp.arange(SPEC.n_agents), (*episodes.valid.shape, SPEC.n_agents))
    )
    advantage = credit + 0.7 * error[..., None]
    slope = jax.jit(jax.grad(plain_actor_loss), static_argnums=4)(learner.actor, episodes, advantage, 0.3, "batch_mean")
    moves, _ = clipped_adam(config.actor_lr, config.clip_norm).update(slope, learner.actor_opt)
    assert_trees_close(found.actor, eqx.apply_updates(learner.actor, moves), 1e-9)
    expected = 0.7 * jnp.abs(error).sum() / episodes.valid.sum()
    np.testing.assert_allclose(metrics["correction_abs"], expected, rtol=1e-9)


def test_packing_visits_each_real_row_once() -> None:
    episodes = random_episodes()
    packed = pack(episodes.valid, 5)
    assert int(packed.count) == sum(length + 1 for length in LENGTHS)

    def visit(buffers, rows: Chunk):
        seen, following = buffers
        return seen.at[rows.index].add(rows.real.astype(jnp.int32)), write(following, rows.next_index, rows)

    width = SPEC.episode_limit + 1
    init_buffers = (jnp.zeros(len(LENGTHS) * width, jnp.int32), room_for(packed, (), jnp.dtype("int32")))
    seen, following = over_chunks(packed, 5, visit, init_buffers)
    filled = np.arange(width) <= np.array(LENGTHS)[:, None]
    np.testing.assert_array_equal(seen.reshape(filled.shape), filled)
    # Row r + 1 is the next step of the same episode for every step that has one.
    position = np.asarray(unpack(following, packed))[:, :-1]
    expected = np.arange(len(LENGTHS))[:, None] * width + np.arange(width - 1) + 1
    np.testing.assert_array_equal(position[np.asarray(episodes.valid)], expected[np.asarray(episodes.valid)])


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
        actor_critic("test", SPEC, dataclasses.replace(CONFIG, **changes))


def test_exact_credit_refuses_large_teams() -> None:
    large = EnvSpec("large", "1", n_agents=5, n_actions=11, obs_size=80, state_size=120, episode_limit=120)
    with pytest.raises(ValueError, match=r"`credit` exact enumerates 11\^5 joint actions of large"):
        actor_critic("test", large, dataclasses.replace(CONFIG, credit="exact"))


def test_shapley_refuses_orders_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match=r"`credit_orders` is 5; .* at least the 6 orders of 3 agents"):
        actor_critic("test", SPEC, dataclasses.replace(CONFIG, credit="shapley", credit_orders=5))


def test_memory_estimate_grows_with_the_critic() -> None:
    large = EnvSpec("large", "1", n_agents=10, n_actions=18, obs_size=176, state_size=322, episode_limit=180)
    compact = memory(32, large, ActorCriticConfig())
    wide = memory(32, large, ActorCriticConfig(critic_width=None))
    assert compact < 2**32 < wide  # The wide critic of MMM2 has 137M parameters, each held seven times.
    assert chunk_rows(large, ActorCriticConfig(critic_width=None)) >= 512
