"""What learns: steps, targets and their copies; clipping and optimisers by hand, in several steps."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import float64_fixture

from seca.learning.trained import (
    Copied,
    Trained,
    clip_by_norm,
    clip_each,
    clipped_adam,
    clipped_rmsprop,
    fresh,
    never_copied,
    norm,
)
from seca.types import PyTree

_ = float64_fixture


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """PyTorch's 1e-6 would not be seen in single precision."""


def some() -> dict[str, jnp.ndarray]:
    return {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[4.0]])}


def test_untrained() -> None:
    """The target is a copy, not the same arrays: training states are donated, and nothing can be donated twice."""
    params = some()
    with_target, without = fresh(params, optax.sgd(0.1), target=True), fresh(params, optax.sgd(0.1))
    assert without.target is None and int(without.steps) == int(with_target.steps) == 0
    assert with_target.steps.dtype == jnp.int32
    for name in params:
        np.testing.assert_array_equal(with_target.target[name], params[name])
        assert with_target.target[name] is not with_target.params[name]


def test_a_step_moves_the_parameters_alone() -> None:
    """x - 0.1 g, twice; with momentum 0.5 the second moves by g + 0.5 g."""
    optimiser = optax.sgd(0.1, momentum=0.5)
    trained = fresh({"x": jnp.asarray([1.0, 2.0])}, optimiser, target=True)
    gradient = {"x": jnp.asarray([10.0, -10.0])}
    once = trained.step(gradient, optimiser)
    twice = once.step(gradient, optimiser)
    np.testing.assert_allclose(once.params["x"], [0, 3])
    np.testing.assert_allclose(twice.params["x"], [-1.5, 4.5])
    np.testing.assert_array_equal(twice.target["x"], [1, 2])
    assert (int(once.steps), int(twice.steps)) == (1, 2)


def test_copies_and_mixtures() -> None:
    trained = dataclasses.replace(
        fresh(some(), optax.sgd(0.1), target=True), params={k: 2 * v for k, v in some().items()}
    )
    kept, copied, mixed = trained.copy_when(jnp.asarray(False)), trained.copy_when(jnp.asarray(True)), trained.mix(0.25)
    for found, factor in ((kept, 1), (copied, 2), (mixed, 0.75 + 0.25 * 2)):
        assert isinstance(found, Trained)
        for name, value in some().items():
            np.testing.assert_allclose(found.target[name], factor * value)
            np.testing.assert_array_equal(found.params[name], 2 * value)


def test_copies_come_due() -> None:
    """At least 10 after the last copy, which counts from where it was made."""
    copied = never_copied()
    made = []
    for sofar in (4, 9, 10, 19, 20, 33, 42, 43):
        due = copied.due(jnp.asarray(sofar, jnp.int32), 10)
        copied = copied.after(jnp.asarray(sofar, jnp.int32), due)
        assert isinstance(copied, Copied) and int(copied.sofar) == sofar
        made += [sofar] if due else []
        assert int(copied.at) == (made[-1] if made else 0)
    assert made == [10, 20, 33, 43]


def updated(clipping: optax.GradientTransformation, gradient: PyTree) -> PyTree:
    return clipping.update(gradient, clipping.init(gradient))[0]


def test_norm_is_over_all_arrays() -> None:
    np.testing.assert_allclose(norm(some()), 5)


@pytest.mark.parametrize(("limit", "factor"), [(2.5, 2.5 / (5 + 1e-6)), (5.0, 5 / (5 + 1e-6)), (5.1, 1), (100.0, 1)])
def test_clipping_is_pytorchs(limit: float, factor: float) -> None:
    """By the norm of everything, 1e-6 included: at the limit itself a little is taken away."""
    clipped = updated(clip_by_norm(limit), some())
    for name, value in some().items():
        np.testing.assert_allclose(clipped[name], factor * value, rtol=1e-12)


def test_each_array_can_be_clipped_of_its_own() -> None:
    """Norms 3 and 4 under limits of 3.5, 2 and 5; zeros stay zeros."""
    for limit, factors in ((3.5, (1, 3.5 / 4)), (2.0, (2 / 3, 2 / 4)), (5.0, (1, 1))):
        clipped = updated(clip_each(limit), {**some(), "c": jnp.zeros(2)})
        for name, factor in zip("ab", factors, strict=True):
            np.testing.assert_allclose(clipped[name], factor * some()[name], rtol=1e-9)
        np.testing.assert_array_equal(clipped["c"], [0, 0])


GRADIENTS = [np.array([3.0, -4.0]), np.array([0.1, 0.2]), np.array([-6.0, 8.0])]
"""Norms 5, 0.22 and 10: under a limit of 2 the second is left as it is."""


def moved(optimiser: optax.GradientTransformation) -> np.ndarray:
    trained = fresh(jnp.zeros(2), optimiser)
    for gradient in GRADIENTS:
        trained = trained.step(jnp.asarray(gradient), optimiser)
    return np.asarray(trained.params)


def clipped_by(limit: float, gradient: np.ndarray) -> np.ndarray:
    return gradient * min(1, limit / (np.sqrt((gradient**2).sum()) + 1e-6))


@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_adam_in_three_steps(eps: float) -> None:
    """Kingma and Ba 2015, algorithm 1, of clipped gradients; eps is added to the root."""
    x, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    for k, gradient in enumerate(GRADIENTS, start=1):
        g = clipped_by(2.0, gradient)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 0.05 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + eps)
    np.testing.assert_allclose(moved(clipped_adam(0.05, 2.0, eps)), x, rtol=1e-9)
    assert eps != 1e-8 or (moved(clipped_adam(0.05, 2.0)) == moved(clipped_adam(0.05, 2.0, eps))).all()


def test_rmsprop_in_three_steps() -> None:
    """PyTorch's: a mean of squares that starts at 0, decay 0.99, 1e-5 added to the root."""
    x, v = np.zeros(2), np.zeros(2)
    for gradient in GRADIENTS:
        g = clipped_by(2.0, gradient)
        v = 0.99 * v + 0.01 * g**2
        x = x - 0.05 * g / (np.sqrt(v) + 1e-5)
    np.testing.assert_allclose(moved(clipped_rmsprop(0.05, 2.0)), x, rtol=1e-9)
