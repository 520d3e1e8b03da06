"""The mixing critic: a small network over the joint action whose weights a hypernetwork makes from the state."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.credit.base import Mixed
from seca.distributions import encoded, is_continuous
from seca.nets.linear import MLP, Linear
from seca.nets.mixers import Choice, Deep, MonotoneMixer
from seca.types import Actions


class MixingWeights(eqx.Module):
    """The critic at one state: f(v) = w2 . relu(v W1 + b1) + b2."""

    w1: Float[Array, "*rows agents actions embed"]
    b1: Float[Array, "*rows embed"]
    w2: Float[Array, "*rows embed"]
    b2: Float[Array, "*rows"]

    def project(self, inputs: Float[Array, "*rows agents actions"]) -> Float[Array, "*rows agents embed"]:
        """Each agent's own addition to the hidden layer."""
        return jnp.einsum("...na,...nae->...ne", inputs, self.w1)

    def value(self, inputs: Float[Array, "*rows agents actions"]) -> Float[Array, "*rows"]:
        """Critic value of a joint input: rows one-hot, policies, or mixed."""
        hidden = self.project(inputs).sum(axis=-2) + self.b1
        return (jax.nn.relu(hidden) * self.w2).sum(axis=-1) + self.b2

    def project_action(self, action: Actions) -> Float[Array, "*rows agents embed"]:
        """`project` of actions: of discrete ones it reads only the rows of W1 that they name."""
        if is_continuous(action):
            return self.project(encoded(action, self.w1.shape[-2], self.w1.dtype))
        return jnp.take_along_axis(self.w1, action[..., None, None], axis=-2)[..., 0, :]

    def taken_value(self, action: Actions) -> Float[Array, "*rows"]:
        """`value` of a joint action."""
        hidden = self.project_action(action).sum(axis=-2) + self.b1
        return (jax.nn.relu(hidden) * self.w2).sum(axis=-1) + self.b2

    def slope(self, hidden: Float[Array, "*rows embed"]) -> Float[Array, "*rows embed"]:
        """df/d(hidden before its ReLU); the gradient of f in the input is W1 times this, in closed form."""
        return jnp.where(hidden > 0, self.w2, jnp.zeros_like(self.w2))

    def input_gradient(self, inputs: Float[Array, "*rows agents actions"]) -> Float[Array, "*rows agents actions"]:
        """df/dv at a joint input."""
        hidden = self.project(inputs).sum(axis=-2) + self.b1
        return jnp.einsum("...nae,...e->...na", self.w1, self.slope(hidden))

    def mix(self, probs: Float[Array, "*rows agents actions"], action: Actions) -> Mixed:
        """Carry policies and taken actions to the hidden layer."""
        as_policy, as_taken = self.project(probs), self.project_action(action)
        return Mixed(as_policy.sum(axis=-2) + self.b1, as_taken - as_policy, self.w2, self.b2)


class MixingCritic(eqx.Module):
    """Joint value of state and joint action: LICA's hypernetwork mixer, unconstrained in sign.

    W1(s): two layers of `width` hidden units (64, or embed * agents * actions as in the authors' release, which makes
    most of that critic's parameters); b1(s): linear; w2(s), b2(s): two layers. The state must be of unit scale.
    Zang et al. 2023, Fig. 3(a); Zhou et al. 2020 (LICA).
    """

    w1: MLP
    b1: Linear
    w2: MLP
    b2: MLP

    @classmethod
    def init(
        cls, key: PRNGKeyArray, n_agents: int, n_actions: int, state_size: int, embed: int, width: int | None
    ) -> "MixingCritic":
        """PyTorch's default initialisation; `width` None means embed * n_agents * n_actions."""
        n_outputs = embed * n_agents * n_actions
        keys = jax.random.split(key, 4)
        return cls(
            MLP.init(keys[0], state_size, n_outputs if width is None else width, n_outputs),
            Linear.init(keys[1], state_size, embed),
            MLP.init(keys[2], state_size, embed, embed),
            MLP.init(keys[3], state_size, embed, 1),
        )

    def weights(self, state: Float[Array, "*rows state"], n_agents: int) -> MixingWeights:
        """One pass of the hypernetwork."""
        embed = self.b1.bias.shape[0]
        w1 = self.w1(state)
        return MixingWeights(
            w1.reshape(*state.shape[:-1], n_agents, -1, embed), self.b1(state), self.w2(state), self.b2(state)[..., 0]
        )


class UtilityCritic(eqx.Module):
    """Joint value made of the agents' own by QMIX's network: Q_tot = mix(q(o_1, u_1) .. q(o_n, u_n); s).

    Reads state and all observations side by side. Hu et al. 2021 (RIIT), section 4.
    """

    utility: Deep
    """q: own observation, index and action; one for all agents."""
    mixer: MonotoneMixer

    @classmethod
    def init(
        cls, key: PRNGKeyArray, n_agents: int, n_actions: int, obs_size: int, state_size: int, width: int, embed: int
    ) -> "UtilityCritic":
        """PyTorch's default initialisation; the mixer's hypernetworks have one layer."""
        utility_key, mixer_key = jax.random.split(key)
        return cls(
            Deep.init(utility_key, (obs_size + n_agents + n_actions, width, width, 1)),
            MonotoneMixer.init(mixer_key, n_agents, state_size, embed, None),
        )

    def value(
        self, features: Float[Array, "*rows features"], inputs: Float[Array, "*rows agents actions"]
    ) -> Float[Array, "*rows"]:
        """Joint value of a joint input: rows one-hot, or policies."""
        n_agents, n_actions = inputs.shape[-2:]
        obs_size = self.utility.layers[0].weight.shape[1] - n_agents - n_actions
        split = features.shape[-1] - n_agents * obs_size
        obs = features[..., split:].reshape(*features.shape[:-1], n_agents, obs_size)
        index = jnp.broadcast_to(jnp.eye(n_agents, dtype=obs.dtype), (*obs.shape[:-1], n_agents))
        q = self.utility(jnp.concatenate([obs, index, inputs.astype(obs.dtype)], axis=-1))[..., 0]
        return self.mixer(features[..., :split], Choice(q=q, best=q, one_hot=inputs))


class CoalitionCritic(eqx.Module):
    """Joint value in which any agent's action can be left out: v(C) = Q(o, u with zeros for agents outside C).

    A channel for all agents reads observation and action; a hidden layer reads all channels. Li et al. 2021 (SCC).
    """

    channel: Deep
    joint: Linear
    out: Linear

    @classmethod
    def init(
        cls, key: PRNGKeyArray, n_agents: int, n_actions: int, obs_size: int, width: int, joint_width: int
    ) -> "CoalitionCritic":
        """PyTorch's default initialisation."""
        keys = jax.random.split(key, 3)
        return cls(
            Deep.init(keys[0], (obs_size + n_actions, width, width)),
            Linear.init(keys[1], n_agents * width, joint_width),
            Linear.init(keys[2], joint_width, 1),
        )

    def mix(self, features: Float[Array, "*rows features"], inputs: Float[Array, "*rows agents actions"]) -> Mixed:
        """All observations and a joint action carried to the hidden layer; `Mixed.policy` is the empty coalition."""
        n_agents = inputs.shape[-2]
        obs = features.reshape(*features.shape[:-1], n_agents, -1)

        def carried(actions: Array) -> Array:
            read = jax.nn.relu(self.channel(jnp.concatenate([obs, actions.astype(obs.dtype)], axis=-1)))
            blocks = self.joint.weight.reshape(self.joint.weight.shape[0], n_agents, -1)
            return jnp.einsum("...nh,enh->...ne", read, blocks)

        nobody = carried(jnp.zeros_like(inputs))
        hidden = nobody.sum(axis=-2) + self.joint.bias
        rows = hidden.shape[:-1]
        return Mixed(
            policy=hidden,
            delta=carried(inputs) - nobody,
            w2=jnp.broadcast_to(self.out.weight[0], hidden.shape),
            b2=jnp.broadcast_to(self.out.bias[0], rows),
        )

    def value(
        self, features: Float[Array, "*rows features"], inputs: Float[Array, "*rows agents actions"]
    ) -> Float[Array, "*rows"]:
        """Joint value of one-hot rows, or rows of zeros for agents left out."""
        return self.mix(features, inputs).taken()
