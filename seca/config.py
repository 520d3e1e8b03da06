"""The configuration of a run: one frozen record that can be written, read back and repeated."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from tyro.conf import AvoidSubcommands, Suppress, arg

from seca import files
from seca.errors import UsageError, refusing
from seca.learning.options import UNADAPTED, Adaptation, check_numbers
from seca.presets import PRESETS, AlgorithmConfig, reference_of
from seca.ranges import NonNegative, Range, Seed
from seca.train.loop import LoopConfig

FORMAT = 1
"""Version of the layout of `config.json`."""

EnvOption = bool | int | float | str
Logger = Literal["tensorboard", "wandb"]
WATCHING = ("devices", "workers", "patience", "checkpoint_interval", "snapshot_interval", "loggers")
"""Fields that decide where a run is computed and how it is watched, and none of its numbers."""


MOST_WORKERS = 1_024


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes, and how it is watched.

    Raises UsageError when a value makes no sense. Where the run is stored is not part of it: folders can be moved.
    """

    preset: Suppress[str] = "seca"
    """What the options start from; see `seca algos`."""
    env: str = "smac/2s3z"
    """Environment; see `seca envs`."""
    env_options: Mapping[str, EnvOption] = dataclasses.field(default_factory=dict)
    """Options of the environment, as in `--env-options key=value key=value`."""
    seed: Seed = 0
    """Seed of the run: initial weights, battles, actions, orders."""
    loop: Annotated[LoopConfig, arg(name="")] = LoopConfig()
    """How long to train and how often to look."""
    algorithm: Annotated[AvoidSubcommands[AlgorithmConfig], arg(name="")] = PRESETS["seca"].config
    """Options of the algorithm; the preset's unless given."""
    adaptation: Annotated[Adaptation, arg(name="")] = UNADAPTED
    """How the algorithm is fitted to environments that it was not made for."""
    checkpoint_interval: NonNegative = 60.0
    """Seconds between checkpoints, stretched only where saving would take over 2 % of the time; 0 saves after every
    iteration whatever it takes."""
    snapshot_interval: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Env steps between two policies that are kept for good, the untrained one first, for `--checkpoint ENV_STEPS` of
    other commands; 0 keeps none."""
    devices: Annotated[int, Range(0, 1_024)] = 0  # A CPU makes as many as it is told to; more would take minutes.
    """Devices to split the runners over; 0 takes all accelerators, or as many CPU cores as divide the runners."""
    workers: str = "auto"
    """Processes that play an environment that is Python, each its share of the runners: a number, or `auto` for as many
    as cores (of StarCraft, for as many as runners); `ray` or `ray://HOST:PORT` plays them on the nodes of a cluster.
    """
    patience: Annotated[float, Range(0.1, 86_400.0)] = 60.0
    """Seconds that an env step of one environment may take before its worker is started anew, and its episodes are
    dropped; to start it, or an episode, may take ten times that."""
    loggers: tuple[Logger, ...] = ()
    """Also log to these; each is an optional extra."""

    def __post_init__(self) -> None:
        """Check every value that can be checked without building anything."""
        one_of("preset", self.preset, PRESETS)
        with refusing():
            for part in (self.loop, self.algorithm, self):  # Options of the first two are named without a prefix.
                check_numbers(part)
            self.adaptation.check()
        if self.workers not in ("auto", "ray") and not self.workers.startswith("ray://"):
            count = self.workers if self.workers.isascii() and self.workers.isdigit() else "0"
            if not 1 <= int(count[:9]) <= MOST_WORKERS:
                raise UsageError(
                    f"`workers` is '{self.workers}': choose a number from 1 to {MOST_WORKERS}, auto, ray or "
                    "ray://HOST:PORT"
                )
        runners, minibatches, each = self.loop.runners, self.loop.minibatches, self.loop.update_episodes
        if runners % minibatches:
            raise UsageError(
                f"`minibatches` is {minibatches} and `runners` is {runners}: episodes are shared out evenly, so "
                f"`minibatches` must be one of {_listed(divisors(runners))}"
            )
        if self.devices and each % self.devices:
            what = "runners are" if minibatches == 1 else f"the {each} episodes of each of {minibatches} updates are"
            raise UsageError(
                f"`runners` is {runners} and `devices` is {self.devices}: {what} split evenly, so `devices` must be "
                f"one of {_listed(divisors(each))}"
            )


def from_preset(name: str) -> RunConfig:
    """The configuration a preset stands for, before any option is given. Raises UsageError when there is none."""
    one_of("preset", name, PRESETS)
    preset = PRESETS[name]
    loop = LoopConfig(eval_interval=preset.eval_interval, runners=preset.runners)
    return RunConfig(preset=name, algorithm=preset.config, loop=loop)


def divisors(number: int) -> list[int]:
    """All positive divisors, ascending."""
    small = [candidate for candidate in range(1, math.isqrt(number) + 1) if number % candidate == 0]
    return sorted({*small, *(number // candidate for candidate in small)})


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise UsageError unless `value` is among `choices`."""
    known = list(choices)
    if value not in known:
        raise UsageError(f"`{name}` is '{value}': choose one of {_listed(known)}")


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def parse_env_options(texts: Sequence[str]) -> dict[str, EnvOption]:
    """`key=value` words of the command line. Raises UsageError on another form or a key given twice."""
    options: dict[str, EnvOption] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key or not value:
            raise UsageError(f"`env-options` holds '{text}': write each option as key=value")
        if key in options:
            raise UsageError(f"`env-options` holds '{key}' twice")
        options[key] = _parse_value(value)
    return options


def _parse_value(text: str) -> EnvOption:
    """Bool, int, float or text, whichever fits first."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def to_dict(config: RunConfig) -> dict[str, Any]:
    """JSON-ready form of a configuration."""
    return {"format": FORMAT} | dataclasses.asdict(config)


def to_json(config: RunConfig) -> str:
    """Text of `config.json`."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def from_json(text: str, source: str = "config.json") -> RunConfig:
    """Read back what `to_json` wrote; unknown keys and wrong types are refused, absent keys keep the preset's value.

    Raises UsageError naming `source`, the field, its value and what was expected there.
    """
    try:
        data = files.parse_json(text)
    except ValueError as error:
        raise UsageError(f"`config` {source} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"`config` {source} holds {type(data).__name__} where an object of fields was expected")
    if data.get("format") is True or data.get("format") != FORMAT:
        raise UsageError(f"`format` of {source} is {data.get('format')!r}: this version of seca reads {FORMAT}")
    preset = data.get("preset")
    if not isinstance(preset, str):
        raise UsageError(f"`preset` of {source} is {preset!r}: choose one of {_listed(PRESETS)}")
    fields = _renamed(data, source)
    fields.pop("format")
    return _record(from_preset(fields["preset"]), fields, "", source)


def _renamed(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of a configuration by their names of now: an older one has a `setting` beside the preset.

    Raises UsageError, naming `source`, when the preset has no such setting.
    """
    fields = dict(data)
    setting, preset = fields.pop("setting", "paper"), str(fields.get("preset"))
    if setting == "reference" and reference_of(preset) is not None:
        fields["preset"] = reference_of(preset)
    elif setting != "paper":
        raise UsageError(
            f"`setting` of {source} is {setting!r}, which is no field any more: each setting is a preset of its own; "
            f"leave it out, or write another `preset`, such as {reference_of(preset) or 'qmix-reference'}"
        )
    return fields


def _record(default: Any, data: Any, prefix: str, source: str) -> Any:
    """A frozen dataclass like `default` with the values of `data`; fields not given keep `default`'s."""
    if not isinstance(data, dict):
        raise UsageError(f"`{prefix.rstrip('.')}` of {source} is {data!r}: an object of fields was expected")
    hints = typing.get_type_hints(type(default))
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise UsageError(f"`{prefix}{unknown[0]}` of {source} is unknown: choose among {_listed(hints)}")
    values = {}
    for name, value in data.items():
        current = getattr(default, name)
        if dataclasses.is_dataclass(current):
            values[name] = _record(current, value, f"{prefix}{name}.", source)
        else:
            values[name] = _value(hints[name], value, prefix + name, source)
    return dataclasses.replace(default, **values)


def _value(hint: Any, value: Any, name: str, source: str) -> Any:
    """`value` if it is of the annotated type (whole numbers pass as real ones), else UsageError."""
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:  # Its words name neither the value nor the choices.
        raise UsageError(f"`{name}` of {source} is {json.dumps(value)}: expected {_words(hint)}") from None


def _words(hint: Any) -> str:
    """A type in words, for error messages."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + _listed(arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(choice) for choice in arguments)
    if origin is tuple:
        return f"a list, each {_words(arguments[0])}"
    if origin is Mapping:
        return f"an object of named values, each {_words(arguments[1])}"
    named = {
        int: "a whole number",
        float: "a finite number",
        str: "a text",
        bool: "true or false",
        types.NoneType: "null",
    }
    return named[hint]


def decisive(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a configuration that decide its numbers, flat; how long and where it runs are not among them."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= decisive(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value  # As JSON gives them back.
    free = ("loop.steps", "loop.episodes", *WATCHING)
    return {name: value for name, value in flat.items() if name not in free}
