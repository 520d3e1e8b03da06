"""The recurrent policy networks, which all agents share, or of which each has its own (`nets.several`)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.nets.linear import Linear, times, uniform


class GRUGates(eqx.Module):
    """What one GRU step computed on the way; the backward pass needs it again."""

    reset: Float[Array, "... hidden"]
    update: Float[Array, "... hidden"]
    new: Float[Array, "... hidden"]
    recurrent_new: Float[Array, "... hidden"]
    """Recurrent part of the new gate before the reset gate scales it."""

    def apply(self, h: Float[Array, "... hidden"]) -> Float[Array, "... hidden"]:
        """Next recurrent state."""
        return (1 - self.update) * self.new + self.update * h


class GRUCell(eqx.Module):
    """Gated recurrent unit, in the parametrisation of PyTorch (both biases, gates in the order r, z, n).

        r = sigmoid(Wr x + Ur h + ...),  z = sigmoid(...),  n = tanh(Wn x + bn + r * (Un h + cn)),  h' = (1 - z) n + z h

    The second bias of r and z is redundant as a function but not for Adam, whose step depends on the parametrisation:
    the reference numbers need both. Cho et al. 2014.
    """

    weight_ih: Float[Array, "*agents gates hidden"]
    weight_hh: Float[Array, "*agents gates hidden"]
    bias_ih: Float[Array, "*agents gates"]
    bias_hh: Float[Array, "*agents gates"]

    @classmethod
    def init(cls, key: PRNGKeyArray, hidden: int) -> "GRUCell":
        """Weights uniform in +-1/sqrt(hidden)."""
        keys = jax.random.split(key, 4)
        weights = [uniform(k, (3 * hidden, hidden), hidden) for k in keys[:2]]
        biases = [uniform(k, (3 * hidden,), hidden) for k in keys[2:]]
        return cls(*weights, *biases)

    def from_input(self, x: Float[Array, "... hidden"]) -> Float[Array, "... gates"]:
        """The input's part of the gates, which needs no recurrent state: many steps at once make one product."""
        return times(x, self.weight_ih) + self.bias_ih

    def join(self, x_part: Float[Array, "... gates"], h: Float[Array, "... hidden"]) -> GRUGates:
        """Gates of one step, from the input's part of them."""
        x_r, x_z, x_n = jnp.split(x_part, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(times(h, self.weight_hh) + self.bias_hh, 3, axis=-1)
        reset = jax.nn.sigmoid(x_r + h_r)
        return GRUGates(reset, jax.nn.sigmoid(x_z + h_z), jnp.tanh(x_n + reset * h_n), h_n)

    def gates(self, x: Float[Array, "... hidden"], h: Float[Array, "... hidden"]) -> GRUGates:
        """Gates of one step."""
        return self.join(self.from_input(x), h)

    def __call__(self, x: Float[Array, "... hidden"], h: Float[Array, "... hidden"]) -> Float[Array, "... hidden"]:
        """Next recurrent state."""
        return self.gates(x, h).apply(h)


class RecurrentAgent(eqx.Module):
    """Linear-ReLU-GRU-Linear, one set of parameters for all agents.

    Reads [observation, one-hot of the last action (zeros at t = 0), one-hot of the agent's index] and returns one
    logit per action. This is PyMARL's agent network.
    """

    encoder: Linear
    cell: GRUCell
    head: Linear

    @classmethod
    def init(cls, key: PRNGKeyArray, n_inputs: int, hidden: int, n_actions: int) -> "RecurrentAgent":
        """PyTorch's default initialisation."""
        encoder_key, cell_key, head_key = jax.random.split(key, 3)
        return cls(
            Linear.init(encoder_key, n_inputs, hidden),
            GRUCell.init(cell_key, hidden),
            Linear.init(head_key, hidden, n_actions),
        )

    def __call__(
        self, inputs: Float[Array, "... inputs"], h: Float[Array, "... hidden"]
    ) -> tuple[Float[Array, "... hidden"], Float[Array, "... actions"]]:
        """Next recurrent state and logits before masking."""
        h = self.cell(jax.nn.relu(self.encoder(inputs)), h)
        return h, self.head(h)


def agent_inputs(
    obs: Float[Array, "*rows agents obs"],
    last_action: Float[Array, "*rows agents actions"],
) -> Float[Array, "*rows agents inputs"]:
    """Observation, last action and agent index side by side."""
    n_agents = obs.shape[-2]
    index = jnp.broadcast_to(jnp.eye(n_agents, dtype=obs.dtype), (*obs.shape[:-1], n_agents))
    return jnp.concatenate([obs, last_action.astype(obs.dtype), index], axis=-1)


class Norm(eqx.Module):
    """Layer normalisation over the last axis: y = g (x - mean) / sqrt(var + 1e-5) + b. Ba et al. 2016."""

    scale: Float[Array, "*agents features"]
    shift: Float[Array, "*agents features"]

    @classmethod
    def init(cls, size: int) -> "Norm":
        """Scale 1, shift 0."""
        return cls(jnp.ones(size, jnp.float32), jnp.zeros(size, jnp.float32))

    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """Apply to the last axis."""
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * self.scale + self.shift


class NormalisedAgent(eqx.Module):
    """MAPPO's recurrent network: Norm, twice Linear-ReLU-Norm, GRU, Norm, Linear; for policies and for values.

    Orthogonal initialisation, biases 0; the head's gain is small so that policies start out uniform. Yu et al. 2022,
    appendix.
    """

    input_norm: Norm
    layers: tuple[Linear, Linear]
    norms: tuple[Norm, Norm]
    cell: GRUCell
    output_norm: Norm
    head: Linear

    @classmethod
    def init(cls, key: PRNGKeyArray, n_inputs: int, hidden: int, n_outputs: int, head_gain: float) -> "NormalisedAgent":
        """Orthogonal weights, with gain sqrt(2) before a ReLU."""
        keys = jax.random.split(key, 5)
        relu_gain = 2**0.5

        def dense(layer_key: PRNGKeyArray, inputs: int, outputs: int, gain: float) -> Linear:
            return Linear(_orthogonal(layer_key, outputs, inputs, gain), jnp.zeros(outputs, jnp.float32))

        zeros = jnp.zeros(3 * hidden, jnp.float32)
        from_input, from_state = (_orthogonal(cell_key, 3 * hidden, hidden, 1.0) for cell_key in keys[2:4])
        return cls(
            input_norm=Norm.init(n_inputs),
            layers=(dense(keys[0], n_inputs, hidden, relu_gain), dense(keys[1], hidden, hidden, relu_gain)),
            norms=(Norm.init(hidden), Norm.init(hidden)),
            cell=GRUCell(from_input, from_state, zeros, zeros),
            output_norm=Norm.init(hidden),
            head=dense(keys[4], hidden, n_outputs, head_gain),
        )

    def __call__(
        self, inputs: Float[Array, "... inputs"], h: Float[Array, "... hidden"]
    ) -> tuple[Float[Array, "... hidden"], Float[Array, "... outputs"]]:
        """Next recurrent state and outputs."""
        h = self.cell(self._encoded(inputs), h)
        return h, self.head(self.output_norm(h))

    def through_time(
        self, inputs: Float[Array, "batch time rows inputs"], h: Float[Array, "batch rows hidden"]
    ) -> tuple[Float[Array, "batch time rows hidden"], Float[Array, "batch time rows outputs"]]:
        """Recurrent states after each step and its outputs, from a given state.

        Equal to calling the network step after step (tests/nets/test_agents.py), but only the recurrence itself is
        sequential: all other layers take the steps as one product.
        """

        def step(h: Array, x_part: Array) -> tuple[Array, Array]:
            h = self.cell.join(x_part, h).apply(h)
            return h, h

        _, states = jax.lax.scan(step, h, jnp.moveaxis(self.cell.from_input(self._encoded(inputs)), 1, 0))
        states = jnp.moveaxis(states, 0, 1)
        return states, self.head(self.output_norm(states))

    def _encoded(self, inputs: Float[Array, "... inputs"]) -> Float[Array, "... hidden"]:
        x = self.input_norm(inputs)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(jax.nn.relu(layer(x)))
        return x


def _orthogonal(key: PRNGKeyArray, n_outputs: int, n_inputs: int, gain: float) -> Array:
    return jax.nn.initializers.orthogonal(gain)(key, (n_outputs, n_inputs), jnp.float32)


AnyAgent = RecurrentAgent | NormalisedAgent
"""Networks that can act: called as `agent(inputs, hidden)`, recurrent through `cell`."""
