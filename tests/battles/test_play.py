"""Playing an episode: where it stands before every step, by whom, and what there is to be seen."""

import numpy as np

from seca.battles import play
from seca.envs import registry


def test_an_episode_stands_before_every_step() -> None:
    """As many places as steps and one more; from each the recorded action leads to the next."""
    env = registry.make("mpe/predator-prey", {"limit": 7})
    by = play.player(env)
    played = play.play(by, play.at_random(env.spec), 0, 3)
    assert len(played.standing) == len(played.actions) + 1 == len(played.looks) + 1
    for t, action in enumerate(played.actions):
        state, shown = by.step(played.standing[t].state, action[None].astype(np.int32))
        after = played.standing[t + 1].state
        np.testing.assert_array_equal(env.drawing.discs(state), env.drawing.discs(after))  # pyrefly: ignore
        np.testing.assert_array_equal(shown.obs, played.standing[t + 1].time_step.obs)
        np.testing.assert_array_equal(shown.reward[0], played.steps.reward[t + 1])


def test_what_offers_nothing_is_played_all_the_same() -> None:
    """Its numbers are there, and no disc."""
    env = registry.make("matrix/peak")
    played = play.play(play.player(env), play.at_random(env.spec), 0, 0)
    found = play.picture_of(env, played)
    assert isinstance(found, play.Scene) and found.names == () and found.x.shape == (2, 0)
    assert found.n_steps == 1 and found.episode_return == float(played.steps.reward[1])


def test_actions_have_names() -> None:
    """One of each action of each agent; healers heal their own side, and what is beyond it is no action."""
    env = registry.make("smac/MMM2")
    assert [len(row) for row in env.action_names] == [env.spec.n_actions] * env.spec.n_agents
    medivac, marine = env.action_names[-1], env.action_names[2]
    assert medivac[:6] == marine[:6] == ("no-op", "stop", "north", "south", "east", "west")
    assert medivac[6] == "heal marauder 0" and marine[6] == "attack marine 0"
    assert medivac[6 + env.spec.n_agents - 1] == "heal medivac 9" and set(medivac[16:]) == {"no-op"}
    assert marine[-1] == "attack medivac 11"
    assert (
        registry.make("mpe/predator-prey").action_names[0][1]
        != registry.make("mpe/predator-prey", {"profile": "mpe2"}).action_names[0][1]
    )
