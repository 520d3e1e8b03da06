"""What holds in every battle, on every map: invariants, repeatability, symmetry, ends."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.envs import smac
from seca.host import throughput
from seca.smac import movement, opponent, reward, scenario, scripts, state, tick


@functools.cache
def player(name: str):
    """The environment, and `play(keys, steps) -> (end, rows seen)`, which takes random legal actions."""
    env = smac.make(name)

    @jax.jit
    def one(battle, shown, noise):
        noise = noise * jnp.uint32(747796405) + jnp.uint32(2891336453)
        battle, shown = env.step(battle, throughput.random_actions(shown.avail, noise))
        return battle, shown, noise

    @jax.jit
    def start(keys):
        return *env.reset(keys), jax.vmap(lambda key: jax.random.bits(key, (env.spec.n_agents,), jnp.uint32))(keys)

    def play(keys, steps):
        # Step by step: one small program per batch size, whatever the number of steps.
        carry = start(keys)
        rows = []
        for _ in range(steps):
            carry = one(*carry)
            rows.append(jax.tree.map(np.asarray, (carry[0].units, carry[1])))
        return carry, jax.tree.map(lambda *x: np.stack(x), *rows)

    return env, play


AS_SHIPPED = ("3m", "2s3z", "MMM2", "corridor")
"""Maps whose programs are compiled as users get them; compiling all 23 so takes longer than playing them."""


@pytest.fixture
def programs(name: str, request: pytest.FixtureRequest) -> None:
    """`usual_programs` for the maps in `AS_SHIPPED`."""
    if name in AS_SHIPPED:
        request.getfixturevalue("usual_programs")


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    "name",
    cases(scenario.map_names(), "6h_vs_8z", slow=True),
)
def test_random_play(name):
    """Bodies stay within bounds, the dead stay dead, nobody is in a wall or deep in another, ends stay as they are."""
    env, play = player(name)
    field, limit = scenario.load(name), env.spec.episode_limit
    (_, last, _), (units, shown) = play(jax.random.split(jax.random.key(1), 16), limit)
    for leaf in jax.tree.leaves((units, shown)):
        assert np.isfinite(leaf).all()
    assert (units.health <= field.health_max).all() and (units.health >= 0).all()
    assert (units.shield <= field.shield_max).all() and (units.shield >= 0).all()
    alive = units.health > 0
    assert (alive[1:] <= alive[:-1]).all()
    assert (units.energy <= field.energy_max).all() and (units.energy >= 0).all()
    assert (units.x > 0).all() and (units.x < 32).all() and (units.y > 0).all() and (units.y < 32).all()
    cells = units.x.astype(int), units.y.astype(int)
    on_ground, over_cliffs = field.layer == 0, field.layer == 1
    assert (field.walkable[cells] | ~on_ground).all() and ((field.level[cells] > 0) | ~over_cliffs).all()

    dx, dy = units.x[:, :, None] - units.x[:, None], units.y[:, :, None] - units.y[:, None]
    meet = (field.layer == field.layer.T) & ~np.eye(field.n_units, dtype=bool)
    both = alive[:, :, None] & alive[:, None] & meet[..., None]
    room = (field.separation + field.separation.T)[..., None] - np.hypot(dx, dy)
    overlap = np.where(both, room, 0.0).max(axis=(1, 2))
    assert overlap.max() < (0.1 if movement.is_tight(field) else 0.3)
    assert (overlap > 0.1).mean() < 0.004

    done = shown.terminated | shown.truncated
    assert done[-1].all() and not (shown.terminated & shown.truncated).any()
    assert (done[1:] >= done[:-1]).all()
    after = done[:-1]
    assert (shown.reward[1:][after] == 0).all() and (shown.obs[1:][after] == shown.obs[:-1][after]).all()
    assert (shown.terminated[1:][after] == shown.terminated[:-1][after]).all()
    assert (shown.truncated.any(axis=0) <= (~shown.info["won"][-1])).all()
    assert shown.info["dead_enemies"].dtype == np.int32 and last.info["won"].dtype == bool
    # Random play does not win where nobody explodes; 2s3z lasts some 40 to 70 steps.
    assert shown.info["won"][-1].mean() < 0.1 or (field.blast > 0).any()
    if name == "2s3z":
        assert 40 <= (~done).sum(axis=0).mean() + 1 <= 75


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("name", cases(scenario.map_names(), slow=True))
def test_battles_depend_on_their_own_key_only(name):
    """Same key, same battle: bit for bit twice and in batches of 16 and 32; alone, in its first steps."""
    _, play = player(name)
    keys = jax.random.split(jax.random.key(2), 32)
    whole = play(keys, 60)[1]
    assert smac_lab.same(whole, play(keys, 60)[1])
    units, shown = whole
    part_units, part_shown = play(keys[:16], 60)[1]
    assert smac_lab.same(jax.tree.map(lambda x: x[..., :16], units), part_units)
    assert smac_lab.same(jax.tree.map(lambda x: x[:, :16], shown), part_shown)
    alone_units, alone_shown = play(keys[:1], 5)[1]
    first = jax.tree.map(lambda x: x[:5, ..., :1], units), jax.tree.map(lambda x: x[:5, :1], shown)
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves((alone_units, alone_shown)), strict=True)
    for batched, alone in pairs:
        tolerance = 1e-3 if jnp.issubdtype(alone.dtype, jnp.floating) else 0
        np.testing.assert_allclose(np.asarray(alone), np.asarray(batched), rtol=0, atol=tolerance)
    assert np.unique(np.concatenate([units.x[-1], units.y[-1]]), axis=1).shape[1] > 16


@pytest.mark.optimised
@pytest.mark.parametrize("name", cases(["3m", "8m", "2s3z"], slow=True))
def test_mirror_symmetry(name):
    """12.13: with both teams attack-moving from mirrored places, each side wins half of 2000 fights (draws apart)."""
    field, a = scenario.load(name), scenario.load(name).n_agents

    def init(field, battle):
        battle = opponent.order_to_point(field, battle, a, field.n_units, (9.0, 16.0))
        battle = opponent.order_to_point(field, battle, 0, a, (23.0, 16.0))
        x, y = battle.units.x, battle.units.y
        return eqx.tree_at(lambda b: (b.units.x, b.units.y), battle, (x.at[a:].set(32.0 - x[:a]), y.at[a:].set(y[:a])))

    def act(field, battle):
        return opponent.attack_move(field, opponent.attack_move(field, battle, a, field.n_units), 0, a)

    both = opponent.Opponent(init, act)

    def one(battle, _):
        after = tick.play(field, scenario.Options(), battle, both)
        return eqx.tree_at(lambda b: b.steps, after, battle.steps + 1), None

    @jax.jit
    def fight(seed):
        return jax.lax.scan(one, both.init(field, state.spawn(field, seed)), None, length=field.limit)[0]

    assert field.unit_names[:a] == field.unit_names[a:]
    end = reward.outcome(field, fight(jax.random.bits(jax.random.key(5), (2000,), jnp.uint32)).units)
    assert end.over.mean() > 0.95
    assert float(end.won.sum() / (end.won | end.lost).sum()) == pytest.approx(0.5, abs=0.03)


FIGHTS = [
    ("2s3z", "heuristic", 0.5, 0.9), ("2s3z", "nearest", 0.3, 0.7),
    ("3m", "heuristic", 0.05, 0.4), ("8m", "heuristic", 0.4, 0.8),
    *((name, "nearest", 0.0, 0.05) for name in ("5m_vs_6m", "27m_vs_30m", "MMM2", "6h_vs_8z")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "script", "least", "most"), cases(FIGHTS, FIGHTS[0], slow=True))
def test_it_is_a_game(name, script, least, most):
    """12.14: SMAC's heuristic and attack-nearest win a share of the even maps and lose where they are outnumbered.

    Corridor, where attack-nearest should lose too, is a deviation: docs/smac.md.
    """
    env, field, player = smac.make(name), scenario.load(name), scripts.SCRIPTS[script]

    def one(carry):
        battle, shown, mind = carry
        mind, taken = player.act(field, battle, mind)
        return *env.step(battle, taken.T), mind

    def play(keys):
        first = (*env.reset(keys), player.init(field, len(keys)))
        return jax.lax.while_loop(lambda carry: ~carry[1].done.all(), one, first)[1].info["won"].mean()

    assert least <= float(jax.jit(play)(jax.random.split(jax.random.key(7), 256))) <= most
