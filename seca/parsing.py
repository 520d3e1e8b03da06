"""Options from the words of a command line, or one line that says what is wrong with them."""

import contextlib
import io
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import tyro

from seca.errors import UsageError, refusing

Options = TypeVar("Options")


def parse(kind: type[Options], command: str, arguments: Sequence[str]) -> Options:
    """Options of a command. Raises UsageError with what tyro says in a box, as one line."""
    for before, argument in zip([command, *arguments], arguments, strict=False):
        option, separator, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if separator and not value:  # As a path it would be the folder we are in.
            field = option.removeprefix("--") if option.startswith("--") else command
            raise UsageError(f"`{field}` is given '': leave it out, or give a value. See `seca {command} --help`")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = tyro.cli(kind, prog=f"seca {command}", args=list(arguments), registry=_registry())
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(_one_line(complaint.getvalue(), command)) from None
    from seca.learning.options import check_numbers

    with refusing():
        check_numbers(options)
    return options


def _one_line(box: str, command: str) -> str:
    """First paragraph of tyro's box, and the spelling it suggests, without frame and title.

    The box is all that tyro promises: `console_outputs=False` drops the words too, and the events of `tyro._errors` are
    for those who pin an exact version.
    """
    lines = [line.strip("│╰─╯ ") for line in box.splitlines()[1:]]
    paragraphs = [" ".join(part).split(" Got errors:")[0].rstrip(". ") for part in _split_at_rules(lines)]
    message = [part for part in paragraphs if part][:1]
    suggestions = [part.split(" (default")[0].rstrip(". ") for part in paragraphs if part.startswith("Perhaps")]
    return ". ".join([*message, *suggestions, f"See `seca {command} --help`"])


def _split_at_rules(lines: list[str]) -> list[list[str]]:
    """Paragraphs of a box; what is left of a rule, of dashes where the terminal has no better, is nearly nothing."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip("-"):
            parts[-1].append(line)
        else:
            parts.append([])
    return parts


def _registry() -> tyro.constructors.ConstructorRegistry:
    """How to read whole numbers (`2e6` among them) and `key=value` options."""
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_whole_number_rule)
    registry.primitive_rule(_word_or_number_rule)
    registry.primitive_rule(_named_values_rule)
    return registry


def _whole_number_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[int | None] | None:
    members = {_plain(part) for part in typing.get_args(info.type)}
    optional = members == {int, type(None)}
    if info.type is not int and not optional:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|None" if optional else "INT",
        instance_from_str=lambda texts: _number_or_none(texts[0]) if optional else parse_whole_number(texts[0]),
        is_instance=lambda value: (
            isinstance(value, int) and not isinstance(value, bool) or (optional and value is None)
        ),
        str_from_instance=lambda value: [str(value)],
    )


def _word_or_number_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[str | int] | None:
    """Some words, or a whole number instead: a checkpoint."""
    members = [_plain(part) for part in typing.get_args(info.type)]
    words = [word for part in members if typing.get_origin(part) is typing.Literal for word in typing.get_args(part)]
    if not words or int not in members or len(members) != 2:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{'|'.join(words)}|ENV_STEPS",
        instance_from_str=lambda texts: texts[0] if texts[0] in words else _number_or_words(texts[0], words),
        is_instance=lambda value: value in words or (isinstance(value, int) and not isinstance(value, bool)),
        str_from_instance=lambda value: [str(value)],
    )


def _plain(part: Any) -> Any:
    """A member of a union, which keeps its annotations: `Annotated[int, Range(..)] | None`."""
    return typing.get_args(part)[0] if typing.get_origin(part) is typing.Annotated else part


def _number_or_words(text: str, words: list[str]) -> int:
    try:
        return parse_whole_number(text)
    except ValueError as error:
        raise ValueError(f"{error}, nor one of {', '.join(words)}") from None


def _number_or_none(text: str) -> int | None:
    try:
        return None if text == "None" else parse_whole_number(text)
    except ValueError as error:
        raise ValueError(f"{error}, nor None") from None


def parse_whole_number(text: str) -> int:
    """A whole number, `2e6` among its spellings. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
        if number.is_integer():
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"'{text}' is not a whole number")


def _named_values_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Mapping[str, Any]] | None:
    if typing.get_origin(info.type) is not Mapping:
        return None
    from seca.config import parse_env_options

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE ...",
        instance_from_str=parse_env_options,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda value: [f"{key}={item}" for key, item in value.items()],
    )
