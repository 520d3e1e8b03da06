"""Mixers: how the agents' utilities make a joint value.

Each is a module called as `mixer(state, choice)`; what a mixer does not read of either, it ignores.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.nets.linear import MLP, Linear, uniform

SMALLEST_WEIGHT = 1e-10
"""Added to positive weights of QPLEX, so that none is exactly 0."""


class Choice(eqx.Module):
    """A joint action as mixers see it."""

    q: Float[Array, "*rows agents"]
    """Q_i(tau_i, u_i), each agent's utility of its action."""
    best: Float[Array, "*rows agents"]
    """max_a Q_i(tau_i, a) over available actions."""
    one_hot: Float[Array, "*rows agents actions"]
    """The actions u."""


class Deep(eqx.Module):
    """Linear layers with ReLU between them."""

    layers: tuple[Linear, ...]

    @classmethod
    def init(cls, key: PRNGKeyArray, sizes: tuple[int, ...]) -> "Deep":
        """PyTorch's default initialisation; `sizes` from inputs to outputs."""
        pairs = zip(jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True)
        return cls(tuple(Linear.init(*pair) for pair in pairs))

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        """Apply to the last axis."""
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


class Heads(eqx.Module):
    """Networks of one shape side by side, each with its own weights: Linear layers with ReLU between them."""

    weights: tuple[Float[Array, "heads _ _"], ...]
    biases: tuple[Float[Array, "heads _"], ...]

    @classmethod
    def init(cls, key: PRNGKeyArray, heads: int, sizes: tuple[int, ...]) -> "Heads":
        """PyTorch's default initialisation; `sizes` from inputs to outputs."""
        weights, biases = [], []
        layer_keys = jax.random.split(key, len(sizes) - 1)
        for layer_key, n_inputs, n_outputs in zip(layer_keys, sizes[:-1], sizes[1:], strict=True):
            weight_key, bias_key = jax.random.split(layer_key)
            weights.append(uniform(weight_key, (heads, n_outputs, n_inputs), n_inputs))
            biases.append(uniform(bias_key, (heads, n_outputs), n_inputs))
        return cls(tuple(weights), tuple(biases))

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows heads outputs"]:
        """Outputs of all heads at the same input."""
        y = jnp.einsum("...i,hoi->...ho", x, self.weights[0]) + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            y = jnp.einsum("...hi,hoi->...ho", jax.nn.relu(y), weight) + bias
        return y


class NoMixer(eqx.Module):
    """Each agent learns alone: n values, all regressed to the team reward. Tan 1993 (IQL)."""

    def __call__(self, state: Float[Array, "*rows state"], choice: Choice) -> Float[Array, "*rows agents"]:
        """The utilities themselves."""
        del state
        return choice.q


class SumMixer(eqx.Module):
    """Q_tot = sum_i Q_i. Sunehag et al. 2018 (VDN)."""

    def __call__(self, state: Float[Array, "*rows state"], choice: Choice) -> Float[Array, "*rows"]:
        """Sum of the utilities."""
        del state
        return choice.q.sum(axis=-1)


class MonotoneMixer(eqx.Module):
    """Mixing network with weights of one sign, made from the state.

        Q_tot = elu(q |W1(s)| + b1(s)) . |w2(s)| + b2(s),    dQ_tot / dQ_i >= 0.

    Rashid et al. 2018 (QMIX), section 4. W1 and w2 come from hypernetworks of one or two layers.
    """

    w1: Linear | MLP
    b1: Linear
    w2: Linear | MLP
    b2: MLP

    @classmethod
    def init(cls, key: PRNGKeyArray, n_agents: int, state_size: int, embed: int, width: int | None) -> "MonotoneMixer":
        """PyTorch's default initialisation; `width` None makes W1 and w2 linear in the state."""
        keys = jax.random.split(key, 4)

        def hypernetwork(layer_key: PRNGKeyArray, n_outputs: int) -> Linear | MLP:
            if width is None:
                return Linear.init(layer_key, state_size, n_outputs)
            return MLP.init(layer_key, state_size, width, n_outputs)

        return cls(
            hypernetwork(keys[0], n_agents * embed),
            Linear.init(keys[1], state_size, embed),
            hypernetwork(keys[2], embed),
            MLP.init(keys[3], state_size, embed, 1),
        )

    def __call__(self, state: Float[Array, "*rows state"], choice: Choice) -> Float[Array, "*rows"]:
        """Joint value."""
        embed = self.b1.bias.shape[0]
        w1 = jnp.abs(self.w1(state)).reshape(*choice.q.shape, embed)
        hidden = jax.nn.elu(jnp.einsum("...n,...ne->...e", choice.q, w1) + self.b1(state))
        return (hidden * jnp.abs(self.w2(state))).sum(axis=-1) + self.b2(state)[..., 0]


class DuplexMixer(eqx.Module):
    """Transformed utilities and importances of their advantages; complete among functions that keep IGM.

        q_i' = w_i(s) Q_i + v_i(s),    Q_tot = sum_i q_i' + sum_i (lambda_i(s, u) - 1) sg(q_i' - max q_i'),
        lambda_i = sum_k |key_k(s)| sigmoid(agents_k(s))_i sigmoid(action_k(s, u))_i,    w_i, lambda_i > 0.

    Wang et al. 2021 (QPLEX), section 3.
    """

    w: MLP
    v: MLP
    key: Heads
    agents: Heads
    action: Heads

    @classmethod
    def init(
        cls, key: PRNGKeyArray, n_agents: int, n_actions: int, state_size: int, width: int, kernels: int, depth: int
    ) -> "DuplexMixer":
        """PyTorch's default initialisation; the nets of lambda have `depth` layers."""
        keys = jax.random.split(key, 5)
        inner = (width,) * (depth - 1)
        return cls(
            MLP.init(keys[0], state_size, width, n_agents),
            MLP.init(keys[1], state_size, width, n_agents),
            Heads.init(keys[2], kernels, (state_size, *inner, 1)),
            Heads.init(keys[3], kernels, (state_size, *inner, n_agents)),
            Heads.init(keys[4], kernels, (state_size + n_agents * n_actions, *inner, n_agents)),
        )

    def importance(
        self, state: Float[Array, "*rows state"], one_hot: Float[Array, "*rows agents actions"]
    ) -> Float[Array, "*rows agents"]:
        """lambda_i(s, u)."""
        joint = jnp.concatenate([state, one_hot.reshape(*state.shape[:-1], -1)], axis=-1)
        keys = jnp.abs(self.key(state)) + SMALLEST_WEIGHT
        return (keys * jax.nn.sigmoid(self.agents(state)) * jax.nn.sigmoid(self.action(joint))).sum(axis=-2)

    def __call__(self, state: Float[Array, "*rows state"], choice: Choice) -> Float[Array, "*rows"]:
        """Joint value; the advantage part teaches lambda alone."""
        w = jnp.abs(self.w(state)) + SMALLEST_WEIGHT
        value = (w * choice.q + self.v(state)).sum(axis=-1)
        advantage = jax.lax.stop_gradient(w * (choice.q - choice.best))
        return value + (advantage * (self.importance(state, choice.one_hot) - 1)).sum(axis=-1)


class AttentionMixer(eqx.Module):
    """Utilities weighed by attention of the state to each agent's part of it.

        Q_tot = sum_h |w_h(s)| sum_i alpha_hi Q_i + c(s),    alpha_h = softmax_i(query_h(s) . key_h(s_i) / sqrt(d)).

    Yang et al. 2020 (Qatten), the weighted form. s_i is slice i of the state,
    whose first n * size entries are the agents'.
    """

    query: Heads
    key: Heads
    head: MLP
    constant: MLP

    @classmethod
    def init(
        cls,
        key: PRNGKeyArray,
        state_size: int,
        ally_features: int,
        heads: int,
        key_size: int,
        width: int,
        constant_width: int,
    ) -> "AttentionMixer":
        """PyTorch's default initialisation."""
        keys = jax.random.split(key, 4)
        return cls(
            Heads.init(keys[0], heads, (state_size, width, key_size)),
            Heads.init(keys[1], heads, (ally_features, key_size)),
            MLP.init(keys[2], state_size, width, heads),
            MLP.init(keys[3], state_size, constant_width, 1),
        )

    def attention(self, state: Float[Array, "*rows state"], n_agents: int) -> Float[Array, "*rows heads agents"]:
        """alpha."""
        size = self.key.weights[0].shape[-1]
        own = state[..., : n_agents * size].reshape(*state.shape[:-1], n_agents, size)
        query, key = self.query(state), self.key(own)
        return jax.nn.softmax(jnp.einsum("...hk,...nhk->...hn", query, key) / query.shape[-1] ** 0.5, axis=-1)

    def __call__(self, state: Float[Array, "*rows state"], choice: Choice) -> Float[Array, "*rows"]:
        """Joint value."""
        per_head = jnp.einsum("...hn,...n->...h", self.attention(state, choice.q.shape[-1]), choice.q)
        return (jnp.abs(self.head(state)) * per_head).sum(axis=-1) + self.constant(state)[..., 0]


class FreeMixer(eqx.Module):
    """Q* = net([s, q]) + V(s), of no constraint in sign: the central value of weighted QMIX.

    Rashid et al. 2020, section 4.
    """

    net: Deep
    v: MLP

    @classmethod
    def init(cls, key: PRNGKeyArray, n_agents: int, state_size: int, width: int) -> "FreeMixer":
        """PyTorch's default initialisation."""
        net_key, v_key = jax.random.split(key)
        return cls(
            Deep.init(net_key, (state_size + n_agents, width, width, width, 1)), MLP.init(v_key, state_size, width, 1)
        )

    def __call__(self, state: Float[Array, "*rows state"], choice: Choice) -> Float[Array, "*rows"]:
        """Joint value."""
        return (self.net(jnp.concatenate([state, choice.q], axis=-1)) + self.v(state))[..., 0]


class JointValue(eqx.Module):
    """Q_jt(s, h, u) on the agents' summed encodings, and V(s). Son et al. 2019 (QTRAN-base), section 4.2."""

    encoding: MLP
    q: Deep
    v: Deep

    @classmethod
    def init(cls, key: PRNGKeyArray, n_actions: int, state_size: int, hidden: int, embed: int) -> "JointValue":
        """PyTorch's default initialisation."""
        encoding_key, q_key, v_key = jax.random.split(key, 3)
        size = hidden + n_actions
        return cls(
            MLP.init(encoding_key, size, size, size),
            Deep.init(q_key, (state_size + size, embed, embed, 1)),
            Deep.init(v_key, (state_size, embed, embed, 1)),
        )

    def joint(
        self,
        state: Float[Array, "*rows state"],
        hidden: Float[Array, "*rows agents hidden"],
        one_hot: Float[Array, "*rows agents actions"],
    ) -> Float[Array, "*rows"]:
        """Q_jt of the joint action, given the agents' recurrent states."""
        encoded = self.encoding(jnp.concatenate([hidden, one_hot.astype(hidden.dtype)], axis=-1)).sum(axis=-2)
        return self.q(jnp.concatenate([state, encoded], axis=-1))[..., 0]

    def value(self, state: Float[Array, "*rows state"]) -> Float[Array, "*rows"]:
        """V(s), which makes up for what the agents do not see."""
        return self.v(state)[..., 0]
