"""What a sweep runs: methods x environments x seeds x changed options, from a TOML file.

    methods = ["seca", "qmix"]          # presets
    envs = ["smac/2s3z", "smac/3s_vs_4z"]
    seeds = 5                           # 0 to 4, or a list

    [options]                           # of every run, by the names of `seca train`
    steps = 2e6

    [[change]]                          # of those runs only that all of `envs`, `methods`, `variants` name
    envs = ["smac/3s_vs_4z"]
    options = { steps = 4e6 }

    [[variant]]                         # some methods once more, with other options
    name = "published advantage"
    methods = ["seca"]
    options = { td-correction = 0 }

    [[skip]]                            # no runs of these, named as in a change
    methods = ["qmix"]
    envs = ["smac/3s_vs_4z"]

Further keys: `title`; `absolute = false` leaves out the absolute metric; `unequal = true` allows unlike budgets in one
environment; `environment` holds options of all environments, as `--env-options` does.
"""

import dataclasses
import functools
import json
import pathlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from tyro.conf import arg

from seca import config as configs
from seca import files
from seca.config import RunConfig, decisive, to_dict
from seca.envs import registry
from seca.errors import UsageError, refusing
from seca.parsing import parse
from seca.presets import PRESETS

MOST_RUNS = 10_000
"""Runs of a sweep; beyond it a number is a slip of the hand."""

_PART_KEYS = {
    "change": ("methods", "envs", "variants", "options"),
    "variant": ("name", "methods", "envs", "options"),
    "skip": ("methods", "envs", "variants"),
}
_KEYS = ("title", "methods", "envs", "seeds", "options", "environment", *_PART_KEYS, "absolute", "unequal")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    name: str
    """Of its folder."""
    variant: str
    """Name of the variant, empty for the method as it is."""
    config: RunConfig

    @property
    def method(self) -> str:
        """What the table calls it: the preset, and the variant."""
        return f"{self.config.preset}, {self.variant}" if self.variant else self.config.preset


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs of a sweep: first the first seed of everything, so that it can be read whenever it is stopped."""

    title: str
    cells: tuple[Cell, ...]
    absolute: bool
    """Whether each run's absolute metric is measured after training (`seca evaluate --absolute`)."""
    text: str
    """The TOML file."""


def read(path: pathlib.Path) -> Plan:
    """The plan in a TOML file. Raises UsageError, in one line with field, value and choices."""
    try:
        text = files.read_text(files.usable("sweep", path))
    except ValueError as error:
        raise UsageError(f"`sweep` is {path}: it cannot be read ({error})") from None
    return from_text(text, str(path), path.stem)


def from_text(text: str, source: str, title: str) -> Plan:
    """The plan in the text of a TOML file, which messages call `source`."""
    try:
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"`sweep` is {source}: not TOML ({error})") from None
    try:
        cells = tuple(_cells(given))
        return Plan(_text(given, "title", title), cells, _flag(given, "absolute", True), text)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def written(
    methods: Sequence[str], envs: Sequence[str], seeds: Sequence[int], options: Mapping[str, Any], title: str = ""
) -> str:
    """The TOML text that asks for these: what the command line is told becomes a file, too."""
    lines = [f"title = {json.dumps(title)}"] if title else []
    lines += [f"methods = {json.dumps(list(methods))}", f"envs = {json.dumps(list(envs))}"]
    lines += [f"seeds = {json.dumps(list(seeds))}", "", "[options]"]
    return "\n".join([*lines, *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in options.items())]) + "\n"


def with_seeds(plan: Plan, seeds: Iterable[int]) -> Plan:
    """The same runs with other seeds."""
    first = plan.cells[0].config.seed
    cells = [
        Cell(
            _folder_name(cell.config.env, cell.config.preset, cell.variant, seed),
            cell.variant,
            dataclasses.replace(cell.config, seed=seed),
        )
        for seed in seeds
        for cell in plan.cells
        if cell.config.seed == first
    ]
    return dataclasses.replace(plan, cells=tuple(cells))


def _cells(given: Mapping[str, Any]) -> Iterable[Cell]:
    _known(given, _KEYS, "")
    methods, envs = _names(given, "methods"), _names(given, "envs")
    for method in methods:
        configs.one_of("methods", method, PRESETS)
    for env in envs:
        _check_env(env)
    seeds = _seeds(given)
    common = {**_options(given, "options"), **_environment(given)}
    changes = [_part(given, "change", index) for index in range(len(_tables(given, "change")))]
    variants = [_part(given, "variant", index) for index in range(len(_tables(given, "variant")))]
    skips = [_part(given, "skip", index) for index in range(len(_tables(given, "skip")))]
    names = ["", *(_text(variant, "name", None) for variant in variants)]
    _once("variant.name", names)
    for kind, parts in (("change", changes), ("variant", variants), ("skip", skips)):
        for part in parts:
            for field, known in (("methods", methods), ("envs", envs), ("variants", names)):
                for value in part.get(field, ()):
                    if value not in known:
                        listed = ", ".join(name or '""' for name in known)
                        raise UsageError(f"`{kind}.{field}` holds '{value}': choose among {listed}")
    if len(seeds) * len(envs) * len(methods) * len(names) > MOST_RUNS:
        raise UsageError(f"`seeds` and the rest make over {MOST_RUNS:,} runs")
    made = [
        (seed, env, method, name)
        for seed in seeds
        for env in envs
        for method in methods
        for name, variant in zip(names, ({}, *variants), strict=True)
        if _applies(variant, method, env, name) and not any(_applies(skip, method, env, name) for skip in skips)
    ]
    if not made:
        raise UsageError("`skip` leaves no run: leave one of them out")
    config_of = functools.cache(lambda env, method, name: _config(common, changes, variants, env, method, name))
    found = {}
    for seed, env, method, name in made:
        config = dataclasses.replace(config_of(env, method, name), seed=seed)
        called = _folder_name(env, method, name, seed)
        if called in found:
            raise UsageError(
                f"`name` {called} would be that of two runs: rename a variant, or leave out one of the two"
            )
        found[called] = Cell(called, name, config)
    _check_budgets(found.values(), _flag(given, "unequal", False))
    for env, options in {(cell.config.env, tuple(sorted(cell.config.env_options.items()))) for cell in found.values()}:
        _check_env(env, options)
    return found.values()


def _config(
    common: Mapping[str, Any],
    changes: Sequence[Mapping[str, Any]],
    variants: Sequence[Mapping[str, Any]],
    env: str,
    method: str,
    name: str,
) -> RunConfig:
    """Options of a run: those of all, its variant's over them, and what changes name it."""
    options = dict(common)
    for variant in variants:
        if variant["name"] == name:
            options |= variant["options"]
    changed: dict[str, Any] = {}
    for change in changes:
        if _applies(change, method, env, name):
            for option, value in change["options"].items():
                if changed.setdefault(option, value) != value:
                    raise UsageError(
                        f"`change` gives `{option}` of {method} on {env} twice, as {changed[option]} and {value}: "
                        "contradictory"
                    )
    try:
        return dataclasses.replace(config_of(method, json.dumps(options | changed)), env=env)
    except UsageError as error:
        raise UsageError(f"options of {method}{f', {name},' if name else ''} on {env}: {error}") from None


@functools.cache
def config_of(method: str, options: str) -> RunConfig:
    """A preset with options, a JSON object by the names of `seca train`. Raises UsageError as that does.

    One device, unless options say another: a sweep uses cores and devices for runs side by side, and results must not
    depend on how many there are.
    """
    base = dataclasses.replace(configs.from_preset(method), devices=1)

    @dataclasses.dataclass(frozen=True)
    class Options:
        """Options of a run."""

        config: Annotated[RunConfig, arg(name="")] = base

    words = [word for name, value in json.loads(options).items() for word in _words(name, value)]
    return parse(Options, "train", words).config


def _words(name: str, value: Any) -> list[str]:
    """An option as the command line has it."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option if value else f"--no-{name.replace('_', '-')}"]
    if isinstance(value, dict):
        return [option, *(f"{key}={_word(item)}" for key, item in value.items())]
    if isinstance(value, list):
        return [option, *map(_word, value)]
    return [option, _word(value)]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


@functools.cache
def _check_env(env: str, options: tuple[tuple[str, Any], ...] = ()) -> None:
    """Of one that workers play no more than its kind can be told without its package."""
    if registry.is_hosted(env):
        return
    with refusing():
        registry.make(env, dict(options))


def _folder_name(env: str, method: str, variant: str, seed: int) -> str:
    """Letters, digits, dots, dashes: what is safe in a path on any system."""
    parts = [re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in (env.split("/")[-1], method, variant)]
    return "-".join([part for part in parts if part] + [f"s{seed}"])


def _check_budgets(cells: Iterable[Cell], unequal: bool) -> None:
    """Raise UsageError where runs in one environment are not asked for the same."""
    first: dict[str, Cell] = {}
    for cell in cells:
        loop, other = cell.config.loop, first.setdefault(cell.config.env, cell).config.loop
        if loop.eval_interval > loop.steps:
            raise UsageError(
                f"`eval-interval` of {cell.name} is {loop.eval_interval:,} and `steps` {loop.steps:,}: it would be "
                "evaluated at its ends only; choose a smaller interval or more steps"
            )
        for field in ("steps", "episodes", "eval_episodes"):
            if getattr(loop, field) != getattr(other, field) and not unequal:
                raise UsageError(
                    f"`{field.replace('_', '-')}` of {cell.name} is {getattr(loop, field):,} but that of "
                    f"{first[cell.config.env].name} {getattr(other, field):,}: runs in one environment are compared; "
                    "give all the same, or say `unequal = true`"
                )


def _known(given: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in given:
        if key not in keys:
            raise UsageError(f"`{where}{key}` is no key of a sweep: choose among {', '.join(keys)}")


def _names(given: Mapping[str, Any], field: str, where: str = "") -> list[str]:
    values = given.get(field)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
        raise UsageError(f"`{where}{field}` is {_shown(values)}: a list of names is needed there")
    _once(f"{where}{field}", values)
    return values


def _once(field: str, values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UsageError(f"`{field}` holds {value!r} twice: two runs would have one name")


def _seeds(given: Mapping[str, Any]) -> list[int]:
    value = given.get("seeds")
    seeds = list(range(value)) if type(value) is int and 0 < value <= MOST_RUNS else value
    if not isinstance(seeds, list) or not seeds or not all(type(x) is int and 0 <= x < 2**32 for x in seeds):
        raise UsageError(f"`seeds` is {_shown(value)}: how many (at least 1), or a list of seeds, is needed there")
    _once("seeds", seeds)
    return seeds


def _options(given: Mapping[str, Any], field: str, where: str = "") -> dict[str, Any]:
    options = given.get(field, {})
    if not isinstance(options, dict):
        raise UsageError(f"`{where}{field}` is {_shown(options)}: a table of options is needed there")
    named = _flat(options)
    for name in ("env", "seed", "env-options", "preset", "out", "config", "help"):
        if name in named or any(key.startswith(f"{name}.") for key in named):
            instead = {"env": "`envs`", "seed": "`seeds`", "env-options": "`environment`", "preset": "`methods`"}
            raise UsageError(f"`{where}{field}.{name}` cannot be given there: {instead.get(name, 'leave it out')}")
    return named


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`path.stage = 10` is a table in TOML, and one name to `seca train`; dashes and underscores are one."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        called = prefix + name.replace("_", "-")
        for key, item in (_flat(value, f"{called}.") if isinstance(value, dict) else {called: value}).items():
            if key in flat:
                raise UsageError(f"`options.{key}` is given twice, with a dash and with an underscore")
            flat[key] = _plain(f"options.{key}", item)
    return flat


def _plain(field: str, value: Any) -> Any:
    """A value that an option can have. Raises UsageError for a date, a table, or what would be an option itself."""
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, bool | int | float | str) or (isinstance(item, str) and item.startswith("--")):
            raise UsageError(f"`{field}` is {_shown(value)}: a number, a text, true or false, or a list of them")
    return value


def _environment(given: Mapping[str, Any]) -> dict[str, Any]:
    options = given.get("environment", {})
    if not isinstance(options, dict) or any(isinstance(value, dict | list) for value in options.values()):
        raise UsageError(f"`environment` is {_shown(options)}: a table of options of environments is needed there")
    for name, value in options.items():
        _plain(f"environment.{name}", value)
    return {"env-options": options} if options else {}


def _tables(given: Mapping[str, Any], field: str) -> list[Any]:
    tables = given.get(field, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"`{field}` is {_shown(tables)}: write [[{field}]] above its keys")
    return tables


def _part(given: Mapping[str, Any], field: str, index: int) -> dict[str, Any]:
    """A change, a variant or what is skipped, its values looked at."""
    part = _tables(given, field)[index]
    _known(part, _PART_KEYS[field], f"{field}.")
    lists = {name: _names(part, name, f"{field}.") for name in ("methods", "envs", "variants") if name in part}
    named = {"name": _text(part, "name", None, f"{field}.")} if field == "variant" else {}
    options = _options(part, "options", f"{field}.") if field != "skip" else {}
    if field == "skip" and not lists:
        raise UsageError("`skip` names nothing: say which `methods`, `envs` or `variants`")
    if field != "skip" and not options:
        raise UsageError(f"`{field}.options` is empty: say what it changes")
    return {**named, **lists, "options": options}


def _applies(part: Mapping[str, Any], method: str, env: str, variant: str) -> bool:
    chosen = (("methods", method), ("envs", env), ("variants", variant))
    return all(value in part[field] for field, value in chosen if field in part)


def _text(given: Mapping[str, Any], field: str, default: str | None, where: str = "") -> str:
    value = given.get(field, default)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"`{where}{field}` is {_shown(value)}: a text is needed there")
    return value


def _flag(given: Mapping[str, Any], field: str, default: bool) -> bool:
    value = given.get(field, default)
    if not isinstance(value, bool):
        raise UsageError(f"`{field}` is {_shown(value)}: true or false is needed there")
    return value


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, default=str)[:200]


def differences(before: RunConfig, now: RunConfig) -> list[str]:
    """What is asked for now and was not before: `name before -> now`, of what decides a run's numbers, and its length.

    How it is watched and saved is not among it.
    """
    old, new = (
        {
            **decisive(to_dict(x)),
            "loop.steps": x.loop.steps,
            "loop.episodes": x.loop.episodes,
            "devices": x.devices,
            "snapshot_interval": x.snapshot_interval,
        }
        for x in (before, now)
    )
    return [
        f"{name} {json.dumps(old.get(name))} -> {json.dumps(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
