"""What a run counts with."""

import json
import pathlib

import pytest
from report import scored

from seca.errors import UsageError
from seca.report import scores


def test_scores_of_a_run(tmp_path: pathlib.Path) -> None:
    whole = scored.leave(tmp_path, scored.config())
    [run] = scored.read(whole)
    assert run.scores == {
        "last": {"episodes": 8, "win_rate": 1.0, "return_mean": 20.0},
        "final": {"episodes": 128, "win_rate": 0.75, "return_mean": 15.0},
        "absolute": {"episodes": 80, "win_rate": 0.875, "return_mean": 17.5},
    }
    assert run.fingerprint.gradient_steps == 1000.0
    assert run.name == whole.name


def test_a_run_gone_on_with_has_no_end_yet(tmp_path: pathlib.Path) -> None:
    path = scored.leave(tmp_path, scored.config())
    result = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps(result | {"env_steps": 999}))
    assert list(scored.read(path)[0].scores) == ["last"]


def test_the_score_that_all_have_and_that_says_most(tmp_path: pathlib.Path) -> None:
    best, ended, begun = (
        scored.leave(tmp_path, scored.config(seed=seed), final=final, absolute=absolute)
        for seed, (final, absolute) in enumerate([(0.5, 0.5), (0.5, None), (None, None)])
    )
    assert scores.common(scored.read(best), None) == "absolute"
    assert scores.common(scored.read(best, ended), None) == "final"
    assert scores.common(scored.read(best, ended, begun), None) == "last"
    assert scores.common(scored.read(best), "last") == "last"
    with pytest.raises(UsageError, match=f"`score` is absolute, which {ended.name} lack .seca evaluate RUN --absolute"):
        scores.common(scored.read(best, ended), "absolute")
    with pytest.raises(UsageError, match="`score` is final, which .* have not come to their end"):
        scores.common(scored.read(best, begun), "final")
    with pytest.raises(UsageError, match="`runs` is empty"):
        scores.common([], None)


def test_scores_are_by_seed(tmp_path: pathlib.Path) -> None:
    paths = [scored.leave(tmp_path, scored.config(seed=seed), final=seed / 10) for seed in (3, 1, 2)]
    assert scores.of_method(scored.read(*paths), "final", "win_rate").tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("file", "content", "fragment"),
    [
        ("result.json", "{", "result.json cannot be read"),
        ("result.json", "[]", "no object `trained`"),
        (
            "result.json",
            '{"env_steps": 1000, "trained": {"episodes": 8, "return_mean": 1, "win_rate": 2}}',
            "`win_rate`",
        ),
        (
            "result.json",
            '{"env_steps": 1000, "trained": {"episodes": 0, "return_mean": 1, "win_rate": 1}}',
            "`episodes`",
        ),
        (
            "absolute.json",
            '{"env_steps": 1000, "episode_return": [], "episodes": 8, "win_rate": 1}',
            "`return_mean` of absolute.json",
        ),
        ("absolute.json", "{}", "absolute.json cannot be read"),
    ],
)
def test_damage_is_one_line(tmp_path: pathlib.Path, file: str, content: str, fragment: str) -> None:
    path = scored.leave(tmp_path, scored.config())
    (path / file).write_text(content)
    with pytest.raises(UsageError, match=fragment) as refused:
        scored.read(path)
    assert "\n" not in str(refused.value)


def test_a_policy_that_was_not_kept_has_no_absolute_metric(tmp_path: pathlib.Path) -> None:
    path = scored.leave(tmp_path, scored.config())
    (path / "absolute.json").write_text('{"missing": "no checkpoint of it"}')
    assert list(scored.read(path)[0].scores) == ["last", "final"]
