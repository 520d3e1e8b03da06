"""Of what types the agents of a team are, by what is known of each."""

import re
from collections.abc import Hashable, Sequence


def types_of(kinds: Sequence[Hashable]) -> tuple[int, ...]:
    """`EnvSpec.agent_types` of what kind each agent is: numbers in the order in which kinds come; () of one kind."""
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    return tuple(numbers[kind] for kind in kinds) if len(numbers) > 1 else ()


def kind_of(name: str) -> str:
    """What an agent is called without its number: `adversary` of `adversary_0`."""
    return re.sub(r"_\d+$", "", name)
