"""Gradient clipping, Adam and RMSprop as the reference implementations have them, and sums over devices."""

import jax
import jax.numpy as jnp
import optax

from seca.types import PyTree


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """Scale by min(1, limit / (norm + 1e-6)), norm the global L2 norm: PyTorch's rule, 1e-6 included."""

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: PyTree) -> tuple[PyTree, PyTree]:
        del params, extra
        factor = jnp.minimum(1, limit / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clipped_adam(lr: float, limit: float) -> optax.GradientTransformation:
    """Clip, then Adam with betas (0.9, 0.999) and eps 1e-8 outside the root."""
    return optax.chain(clip_by_norm(limit), optax.adam(lr))


def clipped_rmsprop(lr: float, limit: float) -> optax.GradientTransformation:
    """Clip, then RMSprop with decay 0.99 and eps 1e-5 outside the root: PyMARL's settings of PyTorch's rule."""
    return optax.chain(clip_by_norm(limit), optax.rmsprop(lr, decay=0.99, eps=1e-5, eps_in_sqrt=False))


def clip_each(limit: float) -> optax.GradientTransformation:
    """Scale each array of its own by min(1, limit / norm): TensorFlow's `clip_by_norm` variable by variable."""

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: PyTree) -> tuple[PyTree, PyTree]:
        del params, extra
        return jax.tree.map(lambda g: g * jnp.minimum(1, limit / (jnp.linalg.norm(g.ravel()) + 1e-12)), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def optimiser_state(optimiser: optax.GradientTransformation, params: PyTree) -> PyTree:
    """`optimiser.init` for any tree of arrays, modules included (optax's own annotation leaves them out)."""
    return optimiser.init(params)


def global_sum(tree: PyTree, axis: str | None) -> PyTree:
    """Sum over the devices that share the batch; the identity on one device (`axis` None)."""
    return tree if axis is None else jax.lax.psum(tree, axis)


def global_max(value: PyTree, axis: str | None) -> PyTree:
    """Largest over the devices that share the batch; the identity on one device (`axis` None)."""
    return value if axis is None else jax.lax.pmax(value, axis)
