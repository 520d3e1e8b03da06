"""Dense layers in PyTorch's layout and default initialisation, which the reference methods rely on."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def uniform(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int) -> Array:
    """Uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def times(x: Float[Array, "*rows inputs"], weight: Float[Array, "*agents outputs inputs"]) -> Array:
    """W x on the last axis; of weights with an axis of agents each agent's own, agents being the last but one of x."""
    return x @ weight.T if weight.ndim == 2 else jnp.einsum("...ni,noi->...no", x, weight)


def times_transposed(d: Float[Array, "*rows outputs"], weight: Float[Array, "*agents outputs inputs"]) -> Array:
    """W^T d: a slope in outputs as one in inputs, likewise."""
    return d @ weight if weight.ndim == 2 else jnp.einsum("...no,noi->...ni", d, weight)


class Linear(eqx.Module):
    """y = W x + b on the last axis, whatever axes come before.

    Equinox's own layer takes single vectors; the matrices here must reach XLA as one product, not as a `vmap` of many.
    With an axis of agents before the others, as `nets.several` has it, each agent has its own.
    """

    weight: Float[Array, "*agents outputs inputs"]
    bias: Float[Array, "*agents outputs"]

    @classmethod
    def init(cls, key: PRNGKeyArray, n_inputs: int, n_outputs: int) -> "Linear":
        """PyTorch's default: both uniform in +-1/sqrt(n_inputs)."""
        weight_key, bias_key = jax.random.split(key)
        return cls(uniform(weight_key, (n_outputs, n_inputs), n_inputs), uniform(bias_key, (n_outputs,), n_inputs))

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        """Apply to the last axis."""
        return times(x, self.weight) + self.bias


class MLP(eqx.Module):
    """Linear-ReLU-Linear: the hypernetworks' shape."""

    hidden: Linear
    out: Linear

    @classmethod
    def init(cls, key: PRNGKeyArray, n_inputs: int, width: int, n_outputs: int) -> "MLP":
        """PyTorch's default in both layers."""
        hidden_key, out_key = jax.random.split(key)
        return cls(Linear.init(hidden_key, n_inputs, width), Linear.init(out_key, width, n_outputs))

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        """Apply to the last axis."""
        return self.out(jax.nn.relu(self.hidden(x)))
