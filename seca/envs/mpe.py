"""Two particle toys, Cooperative Navigation and Predator-Prey: discs pushed about in a plane.

Discs move in a plane by the forces that agents choose, and push each other apart where they meet. Profile `sqddpg` has
the numbers of Wang et al. 2020 (SQDDPG), on which Fig. 2 of Zang et al. 2023 rests; `mpe2` those of the package of that
name (Farama's, PettingZoo's before), in which most others are measured. The two differ in nearly everything but the
observations: see `Profile`. In both the team's reward is the sum of what its agents get.

Axes beside those of `seca.types`: ``movers`` (agents, then the prey if there is one), ``marks`` (landmarks), and 2 for
x and y.
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from seca.envs.base import Env
from seca.envs.drawing import Drawing
from seca.smac.actions import whole
from seca.types import Actions, Box, EnvSpec, TimeStep

VERSION = "mpe-1"

DT, DAMPING = 0.1, 0.25
CONTACT_FORCE, CONTACT_MARGIN = 1e2, 1e-3
MOVES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
"""Stand, +x, -x, +y, -y: how agents' actions are coded in profile `sqddpg`. Its prey, and all of `mpe2`, have the
opposite signs."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """In what the two libraries differ."""

    new_velocity: bool
    """Whether positions move by the velocity after the step's forces, or by the one before."""
    sign: int
    """Of the agents' moves, beside `MOVES`."""
    limit: int
    """Env steps of an episode."""
    counts_itself: bool
    """Navigation: whether each agent counts as colliding with itself, which costs every one of them 1 in each step."""
    local_ratio: float | None
    """Navigation: the weight of an agent's collisions beside what all get, 1 minus it; None adds the two up."""
    shaping: float
    """Predator-Prey: what each predator loses per unit of distance, summed over predators."""
    ends_at_capture: bool
    """Predator-Prey: whether the first touch ends the episode."""


PROFILES = {
    "sqddpg": Profile(True, 1, 200, True, None, 0.1, True),
    "mpe2": Profile(False, -1, 25, False, 0.5, 0.0, False),
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """Who is there, and what holds of each: one entry per mover, then one per mark."""

    n_agents: int
    radius: tuple[float, ...]
    collides: tuple[bool, ...]
    accel: tuple[float, ...]
    """Force of a move, of movers."""
    max_speed: tuple[float, ...]
    """Of movers; infinite where there is none."""
    marks: int
    spread: float
    """Marks are anywhere within so much of the middle, each way."""

    @property
    def movers(self) -> int:
        """Agents and prey."""
        return len(self.accel)

    @property
    def has_prey(self) -> bool:
        """Whether the last mover is a prey, which moves at random."""
        return self.movers > self.n_agents


NAVIGATION = Scene(3, (0.15,) * 3 + (0.05,) * 3, (True,) * 3 + (False,) * 3, (5.0,) * 3, (np.inf,) * 3, 3, 1.0)
PREDATOR_PREY = Scene(
    3, (0.075,) * 3 + (0.05,) + (0.2,) * 2, (True,) * 6, (3.0,) * 3 + (4.0,), (1.0,) * 3 + (1.3,), 2, 0.9
)
SCENES = {"cooperative-navigation": NAVIGATION, "predator-prey": PREDATOR_PREY}
MESSAGES = 2
"""Numbers of a message that Navigation shows of each other agent; nobody ever says anything, so they are 0."""


class World(eqx.Module):
    """A batch of worlds between two env steps."""

    position: Float[Array, "batch movers 2"]
    velocity: Float[Array, "batch movers 2"]
    marks: Float[Array, "batch marks 2"]
    luck: Key[Array, " batch"]
    """What the prey draws from."""
    steps: Int[Array, " batch"]
    caught_at: Int[Array, " batch"]
    """Env steps until the first touch of the prey; 0 before it."""
    terminated: Bool[Array, " batch"]
    truncated: Bool[Array, " batch"]


def make(name: str, profile: Any = "sqddpg", limit: Any = None, actions: Any = "discrete") -> Env:
    """`cooperative-navigation` or `predator-prey`; nobody wins, so policies are measured by their return.

    Five actions an agent: stand, and four moves. Continuous ones are five numbers from 0 to 1, as in mpe2: how much of
    each, of which moves to opposite sides cancel and standing does nothing. The state is all observations side by side.
    `info` holds, in Navigation, `collisions` (pairs of agents that overlap) and `distance` (of each mark to the nearest
    agent, summed); in Predator-Prey `captured` and `turns`, the env steps until the first touch, or the limit.

    Args:
        name: which toy.
        profile: whose numbers: `sqddpg` or `mpe2`.
        limit: env steps of an episode, if not the profile's.
        actions: `discrete` or `continuous`.

    Raises:
        ValueError: unknown name, profile or kind of actions, or a limit that is no number of steps.
    """
    if name not in SCENES:
        raise ValueError(f"`env` mpe/{name} does not exist; choose from {', '.join(SCENES)}")
    if profile not in PROFILES:
        raise ValueError(f"`env-options` profile is {profile!r}; choose one of {', '.join(PROFILES)}")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_STEPS):
        raise ValueError(f"`env-options` limit is {limit!r}; it must be a whole number from 1 to {_MOST_STEPS}")
    if actions not in ("discrete", "continuous"):
        raise ValueError(f"`env-options` actions is {actions!r}; choose one of discrete, continuous")
    scene, rules = SCENES[name], PROFILES[profile]
    rules = rules if limit is None else dataclasses.replace(rules, limit=limit)
    size = jax.eval_shape(lambda: observe(scene, _nowhere(scene))).shape[-1]
    given: dict[str, Any] = {"limit": limit} if limit not in (None, PROFILES[profile].limit) else {}
    given |= {"profile": profile} if profile != "sqddpg" else {}
    given |= {"actions": actions} if actions != "discrete" else {}
    spec = EnvSpec(
        id=f"mpe/{name}",
        version=VERSION,
        n_agents=scene.n_agents,
        n_actions=len(MOVES),
        obs_size=size,
        state_size=size * scene.n_agents,
        episode_limit=rules.limit,
        options=tuple(sorted(given.items())),
        ally_features=size,
        box=Box((0.0,) * len(MOVES), (1.0,) * len(MOVES)) if actions == "continuous" else None,
    )
    reset, step = functools.partial(_reset, scene, rules), functools.partial(_step, scene, rules)
    names = ("stand", "right", "left", "up", "down") if rules.sign > 0 else ("stand", "left", "right", "down", "up")
    return Env(spec, reset, step, drawing=_drawing(scene), action_names=(names,) * scene.n_agents)


def _drawing(scene: Scene) -> Drawing:
    """Everybody's disc, and where movers will be in half a second if nothing pushes them."""
    agents, mark = ("predator", "obstacle") if scene.has_prey else ("agent", "landmark")
    names = [f"{agents} {number}" for number in range(scene.n_agents)]
    names += ["prey"] * scene.has_prey + [f"{mark} {number}" for number in range(scene.marks)]
    return Drawing(
        names=tuple(names),
        kinds=("agent",) * scene.n_agents + ("other",) * scene.has_prey + ("mark",) * scene.marks,
        radius=scene.radius,
        area=(-1.3, -1.3, 1.3, 1.3),
        discs=lambda world: jnp.concatenate([world.position, world.marks], axis=1),
        lines=lambda world: jnp.stack([world.position, world.position + 0.5 * world.velocity], axis=2),
        seconds=DT,
    )


_MOST_STEPS = 100_000


def _nowhere(scene: Scene) -> World:
    """A world in which all are at the origin, for shapes."""
    zero = jnp.zeros((1, scene.movers, 2), jnp.float32)
    no, count = jnp.zeros(1, bool), jnp.zeros(1, jnp.int32)
    keys = jax.random.split(jax.random.key(0), 1)
    return World(zero, zero, jnp.zeros((1, scene.marks, 2), jnp.float32), keys, count, count, no, no)


def _reset(scene: Scene, rules: Profile, keys: Key[Array, " batch"]) -> tuple[World, TimeStep]:
    """Everybody somewhere, at rest."""
    mover_keys, mark_keys, luck = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)

    def anywhere(key: Array, count: int, within: float) -> Array:
        return jax.random.uniform(key, (count, 2), jnp.float32, -within, within)

    position = jax.vmap(functools.partial(anywhere, count=scene.movers, within=1.0))(mover_keys)
    marks = jax.vmap(functools.partial(anywhere, count=scene.marks, within=scene.spread))(mark_keys)
    batch = keys.shape[0]
    count, no = jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool)
    world = World(position, jnp.zeros_like(position), marks, luck, count, count, no, no)
    return world, _shown(scene, rules, world, jnp.zeros(batch, jnp.float32))


def _step(
    scene: Scene, rules: Profile, world: World, actions: Shaped[Array, "batch agents *numbers"]
) -> tuple[World, TimeStep]:
    """One env step of all that are not over."""
    done = world.terminated | world.truncated
    moved = moves(scene, rules, world, actions if actions.ndim == 3 else whole(actions))
    position, velocity = advanced(scene, rules, world.position, world.velocity, world.marks, moved)
    steps = world.steps + 1
    following = dataclasses.replace(world, position=position, velocity=velocity, steps=steps)
    reward = rewards(scene, rules, position, world.marks).sum(axis=-1)
    if scene.has_prey:
        hit = touches(scene, position).any(axis=-1)
        caught_at = jnp.where((world.caught_at == 0) & hit, steps, world.caught_at)
        ended = hit if rules.ends_at_capture else jnp.zeros_like(hit)
        following = dataclasses.replace(following, caught_at=caught_at, terminated=ended)
    following = dataclasses.replace(following, truncated=(steps >= rules.limit) & ~following.terminated)
    after = jax.tree.map(functools.partial(_either, done), world, following)
    return after, _shown(scene, rules, after, jnp.where(done, 0, reward).astype(jnp.float32))


def _either(condition: Bool[Array, " batch"], yes: Array, no: Array) -> Array:
    return jnp.where(condition.reshape(-1, *(1,) * (no.ndim - 1)), yes, no)


def moves(scene: Scene, rules: Profile, world: World, actions: Actions) -> Float[Array, "batch movers 2"]:
    """Directions in which all want to move: as the agents say, and as the prey's luck has it."""
    dtype = world.position.dtype
    if actions.ndim == 3:  # A one-hot is the discrete action.
        share = jnp.clip(actions, 0, 1).astype(dtype)[..., None]
        chosen = rules.sign * (share * jnp.asarray(MOVES, dtype)).sum(axis=-2)  # No product: GPUs round those.
    else:
        chosen = rules.sign * jnp.asarray(MOVES, dtype)[jnp.clip(actions, 0, len(MOVES) - 1)]
    if not scene.has_prey:
        return chosen
    draw = jax.vmap(lambda key, t: jax.random.randint(jax.random.fold_in(key, t), (), 0, len(MOVES)))
    prey = -jnp.asarray(MOVES, dtype)[draw(world.luck, world.steps)]
    return jnp.concatenate([chosen, prey[:, None]], axis=1)


def advanced(
    scene: Scene,
    rules: Profile,
    position: Float[Array, "batch movers 2"],
    velocity: Float[Array, "batch movers 2"],
    marks: Float[Array, "batch marks 2"],
    moved: Float[Array, "batch movers 2"],
) -> tuple[Float[Array, "batch movers 2"], Float[Array, "batch movers 2"]]:
    """Positions and velocities after one step: forces from where all were, damping, the limit of speed."""
    force = moved * jnp.asarray(scene.accel, position.dtype)[:, None] + pushed(scene, position, marks)
    faster = velocity * (1 - DAMPING) + force * DT
    speed = jnp.sqrt((faster**2).sum(axis=-1, keepdims=True))
    most = jnp.asarray(scene.max_speed, position.dtype)[:, None]
    faster = jnp.where(speed > most, faster / jnp.where(speed > 0, speed, 1) * most, faster)
    return position + (faster if rules.new_velocity else velocity) * DT, faster


def pushed(
    scene: Scene, position: Float[Array, "batch movers 2"], marks: Float[Array, "batch marks 2"]
) -> Float[Array, "batch movers 2"]:
    """Forces where discs meet: 100 k log(1 + exp(-(d - r_a - r_b) / k)) along the line between them, k = 0.001."""
    everybody = jnp.concatenate([position, marks], axis=1)
    away = position[:, :, None] - everybody[:, None]
    distance = jnp.sqrt((away**2).sum(axis=-1))
    radius, collides = np.array(scene.radius), np.array(scene.collides)
    least = jnp.asarray(radius[: scene.movers, None] + radius, position.dtype)
    depth = jnp.logaddexp(0, -(distance - least) / CONTACT_MARGIN) * CONTACT_MARGIN
    meets = collides[: scene.movers, None] & collides & ~np.eye(scene.movers, len(radius), dtype=bool)
    size = jnp.where(meets, CONTACT_FORCE * depth / jnp.where(distance > 0, distance, 1), 0)
    return (away * size[..., None]).sum(axis=2)


def touches(scene: Scene, position: Float[Array, "batch movers 2"]) -> Bool[Array, "batch agents"]:
    """Which predators touch the prey."""
    away = position[:, : scene.n_agents] - position[:, scene.n_agents :]
    least = scene.radius[0] + scene.radius[scene.n_agents]
    return jnp.sqrt((away**2).sum(axis=-1)) < least


def rewards(
    scene: Scene, rules: Profile, position: Float[Array, "batch movers 2"], marks: Float[Array, "batch marks 2"]
) -> Float[Array, "batch agents"]:
    """What each agent gets where all are now."""
    agents = position[:, : scene.n_agents]
    if scene.has_prey:
        away = jnp.sqrt(((agents - position[:, scene.n_agents :]) ** 2).sum(axis=-1))
        together = 10.0 * touches(scene, position).sum(axis=-1) - rules.shaping * away.sum(axis=-1)
        return jnp.broadcast_to(together[:, None], away.shape)
    near = -covered(agents, marks)[:, None]
    collided = overlaps(scene, agents) & ~(np.eye(scene.n_agents, dtype=bool) & (not rules.counts_itself))
    own = -collided.sum(axis=-1).astype(position.dtype)
    if rules.local_ratio is None:
        return near + own
    return near * (1 - rules.local_ratio) + own * rules.local_ratio


def overlaps(scene: Scene, agents: Float[Array, "batch agents 2"]) -> Bool[Array, "batch agents agents"]:
    """Which agents overlap; each does itself."""
    return jnp.sqrt(((agents[:, :, None] - agents[:, None]) ** 2).sum(axis=-1)) < 2 * scene.radius[0]


def covered(agents: Float[Array, "batch agents 2"], marks: Float[Array, "batch marks 2"]) -> Float[Array, " batch"]:
    """Distance of each mark to the nearest agent, summed."""
    return jnp.sqrt(((marks[:, :, None] - agents[:, None]) ** 2).sum(axis=-1)).min(axis=-1).sum(axis=-1)


def observe(scene: Scene, world: World) -> Float[Array, "batch agents obs"]:
    """Own velocity and position, then all others from there: marks, movers; the prey's velocity, or messages."""
    a, dtype = scene.n_agents, world.position.dtype
    own = world.position[:, :a]

    def seen_from(places: Array) -> Array:
        return places[:, None] - own[:, :, None]

    batch = own.shape[0]
    # The others of agent i in order of their numbers.
    others = np.array([[j for j in range(scene.movers) if j != i] for i in range(a)])
    relative = jnp.take_along_axis(seen_from(world.position), jnp.asarray(others)[None, :, :, None], axis=2)
    if scene.has_prey:
        last = jnp.broadcast_to(world.velocity[:, None, a], (batch, a, 2))
    else:
        last = jnp.zeros((batch, a, MESSAGES * (a - 1)), dtype)
    parts = [world.velocity[:, :a], own, seen_from(world.marks).reshape(batch, a, -1), relative.reshape(batch, a, -1)]
    return jnp.concatenate([*parts, last], axis=-1)


def _shown(scene: Scene, rules: Profile, world: World, reward: Float[Array, " batch"]) -> TimeStep:
    obs = observe(scene, world)
    batch, agents = obs.shape[0], world.position[:, : scene.n_agents]
    if scene.has_prey:
        captured = world.caught_at > 0
        info: dict[str, Array] = {"captured": captured, "turns": jnp.where(captured, world.caught_at, rules.limit)}
    else:
        collisions = jnp.triu(overlaps(scene, agents), 1).sum(axis=(-2, -1))
        info = {"collisions": collisions, "distance": covered(agents, world.marks)}
    return TimeStep(
        obs=obs,
        state=obs.reshape(batch, -1),
        avail=jnp.ones((batch, scene.n_agents, len(MOVES)), bool),
        reward=reward,
        terminated=world.terminated,
        truncated=world.truncated,
        info=info,
    )
