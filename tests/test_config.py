"""The configuration is written, read back and refused."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seca import config as configs
from seca.errors import UsageError
from seca.presets import PRESETS
from seca.train.loop import LoopConfig


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_the_file(preset: str) -> None:
    config = dataclasses.replace(
        configs.from_preset(preset), env_options={"a": 1, "b": 0.5, "c": True, "d": "x"}, loggers=("wandb",), seed=7
    )
    assert configs.from_json(configs.to_json(config)) == config
    assert config.algorithm == PRESETS[preset].config
    assert config.loop.eval_interval == PRESETS[preset].eval_interval


def test_absent_fields_keep_the_preset() -> None:
    read = configs.from_json('{"format": 1, "preset": "seca-ig-10", "algorithm": {"path": {"points": 3}}}')
    expected = configs.from_preset("seca-ig-10")
    algorithm: Any = expected.algorithm
    path = dataclasses.replace(algorithm.path, points=3)
    assert read == dataclasses.replace(expected, algorithm=dataclasses.replace(algorithm, path=path))
    ordered: Any = read.algorithm
    assert ordered.path.stage == 10


def test_types_survive_the_file() -> None:
    read = configs.from_json('{"format": 1, "preset": "seca", "algorithm": {"gamma": 1}, "env_options": {"a": true}}')
    assert isinstance(read.algorithm.gamma, float)
    assert read.env_options["a"] is True


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_any_object_is_read_or_refused(data: dict[str, object]) -> None:
    """Nothing but UsageError comes out, whatever the file holds."""
    try:
        config = configs.from_json(json.dumps({"format": 1, "preset": "seca"} | data))
    except UsageError as error:
        assert "`" in str(error)
    else:
        assert data.keys() <= configs.to_dict(config).keys()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2", -2),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("True", True),
        ("false", False),
        ("obs", "obs"),
        ("a=b", "a=b"),
    ],
)
def test_env_options_get_the_first_type_that_fits(text: str, value: object) -> None:
    parsed = configs.parse_env_options([f"key={text}"])
    assert parsed == {"key": value}
    assert type(parsed["key"]) is type(value)


def test_divisors() -> None:
    assert configs.divisors(12) == [1, 2, 3, 4, 6, 12]
    assert configs.divisors(1) == [1]


def test_sizes_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match=r"`runners` is 6 and `devices` is 4.*1, 2, 3, 6"):
        configs.RunConfig(loop=LoopConfig(runners=6), devices=4)
    with pytest.raises(ValueError, match=r"`minibatches` is 4 and `runners` is 6.*1, 2, 3, 6"):
        configs.RunConfig(loop=LoopConfig(runners=6, minibatches=4))
    with pytest.raises(ValueError, match=r"`runners` is 12 and `devices` is 4: the 6 episodes of each of 2 updates"):
        configs.RunConfig(loop=LoopConfig(runners=12, minibatches=2), devices=4)


def test_a_configuration_from_before_minibatches_has_one() -> None:
    older = configs.to_dict(configs.from_preset("seca"))
    del older["loop"]["minibatches"]
    assert configs.from_json(json.dumps(older)).loop.minibatches == 1


@pytest.mark.parametrize(
    ("preset", "setting", "name"),
    [
        ("seca", "paper", "seca"),
        ("seca", "reference", "seca-paper"),
        ("seca-uncorrected", "reference", "seca-paper"),
        ("seca-ig-10", "reference", "seca-ig-10-paper"),
        ("seca-paper", "paper", "seca-paper"),
        ("qmix", "reference", "qmix-reference"),
        ("scc", "reference", "scc-reference"),
    ],
)
def test_settings_become_presets(preset: str, setting: str, name: str) -> None:
    old: dict[str, Any] = {"format": 1, "preset": preset, "setting": setting}
    read = configs.from_json(json.dumps(old))
    assert read == configs.from_preset(name)
    assert "setting" not in configs.to_dict(read)
    old["algorithm"] = {"gamma": 0.5}
    again: Any = configs.from_json(json.dumps(old))
    assert again.algorithm.gamma == 0.5 and again.loop.runners == PRESETS[name].runners
