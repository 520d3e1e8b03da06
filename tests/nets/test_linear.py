"""Dense layers: by hand on rows of any shape, and PyTorch's initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.nets.linear import MLP, Linear, uniform

LAYER = Linear(jnp.asarray([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]]), jnp.asarray([10.0, -20.0]))


def test_a_layer_by_hand() -> None:
    np.testing.assert_array_equal(LAYER(jnp.asarray([1.0, 1.0, 2.0])), [1 + 2 + 6 + 10, -1 + 8 - 20])


@pytest.mark.parametrize("rows", [(1,), (5,), (2, 3)])
def test_rows_of_any_shape(rows: tuple[int, ...]) -> None:
    """Each row as it is alone."""
    x = jnp.arange(3.0 * np.prod(rows)).reshape(*rows, 3)
    found = LAYER(x)
    assert found.shape == (*rows, 2)
    for index in np.ndindex(*rows):
        np.testing.assert_array_equal(found[index], LAYER(x[index]))


def test_two_layers_by_hand() -> None:
    """The first layer's second output is negative here, so the ReLU takes it away."""
    module = MLP(LAYER, Linear(jnp.asarray([[2.0, 100.0]]), jnp.asarray([-1.0])))
    np.testing.assert_array_equal(module(jnp.asarray([1.0, 1.0, 2.0])), [2 * 19 - 1])


def test_initial_weights_fill_their_range() -> None:
    """Uniform in +-1/sqrt(inputs), of weights and biases alike, which are drawn apart."""
    module = MLP.init(jax.random.key(0), 100, 400, 3)
    assert module.hidden.weight.shape == (400, 100) and module.out.weight.shape == (3, 400)
    drawn = [module.hidden.weight, module.hidden.bias, module.out.weight]
    for values, bound in zip(drawn, (0.1, 0.1, 0.05), strict=True):
        values = np.asarray(values) / bound
        assert 0.98 < values.max() <= 1 and -1 <= values.min() < -0.98
        assert abs(values.mean()) < 0.1 and abs(values.var() - 1 / 3) < 0.05
    assert np.abs(np.asarray(module.out.bias)).max() <= 0.05
    layer = Linear.init(jax.random.key(0), 1, 7)
    assert (layer.weight[:, 0] != layer.bias).all()


def test_numbers_of_the_range_depend_on_the_fan_in_alone() -> None:
    found = np.asarray(uniform(jax.random.key(1), (50, 2), 16))
    assert found.shape == (50, 2) and found.dtype == np.float32
    assert 0.24 < np.abs(found).max() <= 0.25
