"""Small networks and buffers for tests of learners: what is tested does not depend on how large they are."""

import dataclasses
from typing import Any

from seca.presets import PRESETS

SMALL = {"actor_hidden": 8, "critic_hidden": 8, "critic_embed": 8, "critic_width": 8, "embed": 8, "width": 8} | {
    "joint_width": 8, "batch_episodes": 8, "start_episodes": 8, "buffer_episodes": 16,
    "fork_every": 2, "fork_lanes": 24, "forks": 2, "fork_steps": 2,
}  # fmt: skip
"""Wherever a method has such an option."""


def small(name: str, **changes: Any) -> Any:
    """Options of a preset with these sizes."""
    config: Any = PRESETS[name].config
    fields = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{key: value for key, value in SMALL.items() if key in fields} | changes)
