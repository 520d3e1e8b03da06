"""How much is visited at once, by platform: no result depends on it, but to rounding.

A CPU is quickest with what stays in its cache, an accelerator with all there is, in few and large steps. Nothing takes
more than a batch has (`learning.rows`). Those of the CPU were measured (docs/history.md); those of accelerators keep
what is held at once below some GiB, and are compared with the CPU's by benchmarks/accelerator.py (docs/accelerator.md).
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Options of a platform."""

    critic_rows: int
    """Rows of a joint critic's regression, which groups them by taken action."""
    mixer_rows: int
    """Rows of a mixing network and its loss, of teams' values."""
    q_rows: int
    """The same of Q-learning, whose losses hold more of each row."""
    coalition_rows: int
    """Rows whose coalitions are valued."""
    weight_bytes: int
    """Of the mixing critic's W1(s), one for each row."""
    input_bytes: int
    """Of what a critic of single agents reads."""
    time_block: int
    """Steps of an episode, where gradients go back through time."""
    episodes: int
    """Episodes, where gradients go back through time."""
    stretches: int
    """Stretches of episodes, in PPO."""
    lanes: int
    """Battles side by side, where an update plays forks."""
    audit_lanes: int
    """Forks side by side on each device, in an audit."""
    audit_forks: int
    """Forks that each device is given at a time, in an audit: the last of them leave lanes idle, and progress is seen
    after each."""
    unrolled: int
    """Steps written out at a time of the simulator's loops over units."""
    unrolled_whole: int
    """Units up to which a loop is written out whole, where units only look at each other."""


CPU = Sizes(
    critic_rows=1024,
    mixer_rows=1024,
    q_rows=512,
    coalition_rows=256,
    weight_bytes=2**21,
    input_bytes=2**22,
    time_block=8,
    episodes=8,
    stretches=16,  # 64 take up to 1.5 times as long.
    lanes=512,
    audit_lanes=512,
    audit_forks=32_768,
    unrolled=1,  # Written out, every step would be computed again for each array it feeds.
    unrolled_whole=10,
)
ACCELERATOR = Sizes(
    critic_rows=2**14,
    mixer_rows=2**14,
    q_rows=2**14,
    coalition_rows=2**11,
    weight_bytes=2**28,
    input_bytes=2**28,
    time_block=8,
    episodes=2**12,
    stretches=2**10,
    lanes=2**16,
    audit_lanes=2**13,
    audit_forks=2**17,
    unrolled=8,  # Of 2s3z 230 kernels an env step instead of 766, of MMM2 584 instead of 2,640.
    unrolled_whole=10,
)
_CHOSEN: ContextVar[Sizes | None] = ContextVar("sizes", default=None)


def sizes() -> Sizes:
    """Those of the platform that programs are being made for."""
    return _CHOSEN.get() or (CPU if jax.default_backend() == "cpu" else ACCELERATOR)


@contextmanager
def using(chosen: Sizes) -> Iterator[None]:
    """Others for the programs that this thread makes meanwhile; what is compiled already keeps its own."""
    token = _CHOSEN.set(chosen)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
