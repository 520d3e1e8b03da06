"""Made-up steps for methods of particle toys, and what is computed of them by plain loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from seca.algos.coma_mpe import ComaMpeConfig
from seca.learning.transitions import Transitions
from seca.nets.stacked import AgentMLP
from seca.types import EnvSpec, Episodes

SPEC = EnvSpec(id="test", version="1", n_agents=3, n_actions=4, obs_size=5, state_size=7, episode_limit=6)
CONFIG = ComaMpeConfig(hidden=8, batch=7, critic_epochs=3, target_interval=14, init_std=0.5)
N, A, OBS = SPEC.n_agents, SPEC.n_actions, SPEC.obs_size


def episodes_of(seed: int = 0) -> Episodes:
    """Of other lengths than the batch of an update."""
    keys = jax.random.split(jax.random.key(seed), 5)
    batch, time = 4, SPEC.episode_limit
    lengths = jnp.array([6, 2, 5, 3])
    valid = jnp.arange(time) < lengths[:, None]
    last = jnp.arange(time) == lengths[:, None] - 1
    return Episodes(
        reward=jax.random.normal(keys[0], (batch, time)),
        terminated=last & (lengths < time)[:, None],
        truncated=last & (lengths == time)[:, None],
        valid=valid,
        obs=jax.random.normal(keys[1], (batch, time + 1, N, OBS)),
        state=jax.random.normal(keys[2], (batch, time + 1, SPEC.state_size)),
        avail=jnp.ones((batch, time + 1, N, A), bool).at[:, :, 0, 3].set(False),
        actions=jax.random.randint(keys[3], (batch, time + 1, N), 0, A - 1),
    )


def plain_net(net: AgentMLP, agent: int, x: np.ndarray) -> np.ndarray:
    for number, layer in enumerate(net.layers):
        x = np.asarray(layer.weight)[agent] @ x + np.asarray(layer.bias)[agent]
        x = np.maximum(x, 0) if number < 2 else x
    return x


def plain_q(critics: AgentMLP, obs: np.ndarray, agent: int, others: dict[int, np.ndarray]) -> np.ndarray:
    told = [others[j] for j in range(N) if j != agent]
    return plain_net(critics, agent, np.concatenate([*obs, obs[agent], *told]))


def transitions(many: list[Episodes]) -> Transitions:
    """All real steps, one episode after another, by plain loops."""
    rows = []
    for episodes in many:
        for b, t in itertools.product(*map(range, episodes.valid.shape)):
            if episodes.valid[b, t]:
                now, after = slice(t, t + 1), slice(t + 1, t + 2)
                step = {name: getattr(episodes, name)[b, now] for name in ("obs", "avail", "actions", "reward")}
                shown = {f"next_{name}": getattr(episodes, name)[b, after] for name in ("obs", "avail")}
                rows.append(Transitions(**step, **shown, ended=episodes.terminated[b, now]))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *rows)
