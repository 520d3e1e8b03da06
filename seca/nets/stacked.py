"""Small dense networks, one for each agent, as arrays with the agents first: one product serves them all."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.nets.linear import uniform


class AgentLinear(eqx.Module):
    """y_i = W_i x_i + b_i."""

    weight: Float[Array, "agents outputs inputs"]
    bias: Float[Array, "agents outputs"]

    @classmethod
    def init(
        cls, key: PRNGKeyArray, n_agents: int, n_inputs: int, n_outputs: int, std: float, shared: bool
    ) -> "AgentLinear":
        """Weights normal with deviation `std`, biases uniform in +-1/sqrt(n_inputs); all agents' alike if `shared`."""
        weight_key, bias_key = jax.random.split(key)
        copies = 1 if shared else n_agents
        weight = std * jax.random.normal(weight_key, (copies, n_outputs, n_inputs), jnp.float32)
        bias = uniform(bias_key, (copies, n_outputs), n_inputs)
        return cls(*(jnp.broadcast_to(x, (n_agents, *x.shape[1:])) for x in (weight, bias)))

    def __call__(self, x: Float[Array, "agents rows inputs"]) -> Float[Array, "agents rows outputs"]:
        """Each agent's own."""
        return jnp.einsum("nri,noi->nro", x, self.weight) + self.bias[:, None]


class AgentMLP(eqx.Module):
    """Three layers, ReLU between them."""

    layers: tuple[AgentLinear, AgentLinear, AgentLinear]

    @classmethod
    def init(
        cls, key: PRNGKeyArray, n_agents: int, sizes: tuple[int, int, int], std: float, shared: bool
    ) -> "AgentMLP":
        """Layers from `sizes` (inputs, hidden, outputs), as `AgentLinear.init`."""
        inputs, hidden, outputs = sizes
        keys = jax.random.split(key, 3)
        pairs = (inputs, hidden), (hidden, hidden), (hidden, outputs)
        first, second, third = (
            AgentLinear.init(k, n_agents, before, after, std, shared)
            for k, (before, after) in zip(keys, pairs, strict=True)
        )
        return cls((first, second, third))

    def __call__(self, x: Float[Array, "*rows agents inputs"]) -> Float[Array, "*rows agents outputs"]:
        """Each agent's own."""
        agents_first = jnp.moveaxis(x, -2, 0)
        found = self.after_first(self.layers[0](agents_first.reshape(x.shape[-2], -1, x.shape[-1])))
        return jnp.moveaxis(found.reshape(*agents_first.shape[:-1], -1), 0, -2)

    @property
    def n_outputs(self) -> int:
        """Width of the last layer."""
        return self.layers[-1].bias.shape[-1]

    def after_first(self, hidden: Float[Array, "agents rows hidden"]) -> Float[Array, "agents rows outputs"]:
        """What follows the first layer, from its outputs before their ReLU."""
        _, second, third = self.layers
        return third(jax.nn.relu(second(jax.nn.relu(hidden))))
