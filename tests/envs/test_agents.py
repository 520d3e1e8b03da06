"""Types of agents, by whatever tells them apart."""

from seca.envs.agents import kind_of, types_of


def test_types_are_numbered_as_they_come() -> None:
    """Of whatever kinds; where all are of one there are none. Names count without the number at their end."""
    assert types_of(["b", "a", "b", ("c", 1)]) == (0, 1, 0, 2)
    assert types_of(["a", "a"]) == types_of([]) == ()
    assert [kind_of(name) for name in ("adversary_0", "agent_12", "tall", "agent_1_b", "7")] == [
        "adversary", "agent", "tall", "agent_1_b", "7",
    ]  # fmt: skip
