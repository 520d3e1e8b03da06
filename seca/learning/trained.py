"""A part that learns: parameters, their target copy, the state of an optimiser; and the references' optimisers."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from seca.types import PyTree


class Trained(eqx.Module):
    """Networks under one optimiser, and everything that their training remembers. Arrays only."""

    params: PyTree
    target: PyTree
    """An older copy to make targets with; None where there is none."""
    opt: PyTree
    steps: Int[Array, ""]
    """Gradient steps taken."""

    def step(self, gradient: PyTree, optimiser: optax.GradientTransformation) -> "Trained":
        """One step of the optimiser."""
        moves, opt = optimiser.update(gradient, self.opt)
        return Trained(eqx.apply_updates(self.params, moves), self.target, opt, self.steps + 1)

    def copy_when(self, due: Bool[Array, ""]) -> "Trained":
        """With the parameters copied into the target if `due`."""
        target = jax.tree.map(lambda new, old: jnp.where(due, new, old), self.params, self.target)
        return dataclasses.replace(self, target=target)

    def mix(self, share: float) -> "Trained":
        """With a share of the parameters mixed into the target."""
        target = jax.tree.map(lambda old, new: (1 - share) * old + share * new, self.target, self.params)
        return dataclasses.replace(self, target=target)


class Copied(eqx.Module):
    """How far training has come, and how far it had when a target was last copied."""

    sofar: Int[Array, ""]
    at: Int[Array, ""]

    def due(self, sofar: Int[Array, ""], interval: int) -> Bool[Array, ""]:
        """Whether at least `interval` has passed since the last copy."""
        return sofar - self.at >= interval

    def after(self, sofar: Int[Array, ""], copied: Bool[Array, ""]) -> "Copied":
        """Come to `sofar`, with a copy made there or not."""
        return Copied(sofar, jnp.where(copied, sofar, self.at))


def fresh(params: PyTree, optimiser: optax.GradientTransformation, target: bool = False) -> Trained:
    """Untrained networks; the target is a copy of them."""
    zero = jnp.zeros((), jnp.int32)
    return Trained(params, jax.tree.map(jnp.copy, params) if target else None, optimiser.init(params), zero)


def never_copied() -> Copied:
    """At the start."""
    zero = jnp.zeros((), jnp.int32)
    return Copied(zero, zero)


def norm(tree: PyTree) -> Float[Array, ""]:
    """Global L2 norm."""
    return optax.tree.norm(tree)


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """Scale by min(1, limit / (norm + 1e-6)), norm the global L2 norm: PyTorch's rule, 1e-6 included."""

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: PyTree) -> tuple[PyTree, PyTree]:
        del params, extra
        factor = jnp.minimum(1, limit / (norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip_each(limit: float) -> optax.GradientTransformation:
    """Scale each array of its own by min(1, limit / norm): TensorFlow's `clip_by_norm` variable by variable."""

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: PyTree) -> tuple[PyTree, PyTree]:
        del params, extra
        return jax.tree.map(lambda g: g * jnp.minimum(1, limit / (jnp.linalg.norm(g.ravel()) + 1e-12)), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clipped_adam(lr: float, limit: float, eps: float = 1e-8) -> optax.GradientTransformation:
    """Clip, then Adam with betas (0.9, 0.999) and eps outside the root."""
    return optax.chain(clip_by_norm(limit), optax.adam(lr, eps=eps))


def clipped_rmsprop(lr: float, limit: float) -> optax.GradientTransformation:
    """Clip, then RMSprop with decay 0.99 and eps 1e-5 outside the root: PyMARL's settings of PyTorch's rule."""
    return optax.chain(clip_by_norm(limit), optax.rmsprop(lr, decay=0.99, eps=1e-5, eps_in_sqrt=False))
