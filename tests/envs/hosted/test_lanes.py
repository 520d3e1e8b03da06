"""Environments side by side in one process: what fails is dropped, and made anew at its next reset."""

from hosted_games import Count, count

from seca.envs.hosted import arrays
from seca.envs.hosted.lanes import Lanes, Recipe


class Closing(Count):
    """One that says when it is closed."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1
        raise RuntimeError("it fails at that, too")


def lanes(count_of: int, make) -> tuple[Lanes, dict]:
    first = make()
    of = arrays.layout(first.spec, count_of)
    found = arrays.views(bytearray(arrays.size(of)), of)
    return Lanes(make, first, found), found


def test_one_fails_and_the_others_go_on() -> None:
    made = []

    def make() -> Count:
        made.append(Closing(5, 7, 2, "raise", 3, "", False))
        return made[-1]

    several, found = lanes(3, make)
    found["seeds"][:] = [1, 3, 5]
    assert several.do("reset", [0, 1, 2]).lost == {} and len(made) == 3
    found["actions"][:] = 1
    assert several.do("step", [0, 1, 2]).lost == {}
    reply = several.do("step", [0, 1, 2])
    assert list(reply.lost) == [1] and "RuntimeError: the game is gone" in reply.lost[1] and reply.broken == ""
    assert Closing.closed == 1 and found["state"][:, 0].tolist() == [2, 1, 2]
    assert several.do("reset", [1]).lost == {} and len(made) == 4 and found["state"][1, 0] == 0
    several.close()
    assert Closing.closed == 4


def test_a_broken_contract_ends_it() -> None:
    several, found = lanes(2, lambda: count(at=1, then="break", every=2))
    found["seeds"][:] = [1, 2]
    several.do("reset", [0, 1])
    assert several.do("step", [0, 1]).broken == "agent_0 shows NaN at step 3"


def test_a_recipe_is_words() -> None:
    assert Recipe("pymarl", "a.B") == Recipe("pymarl", "a.B", ())
