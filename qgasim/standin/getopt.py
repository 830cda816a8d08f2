"""Options as GNU getopt_long reads them, with its texts for those that are wrong.

The library's own `getopt` knows no optional arguments before Python 3.14, and has other texts.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["Option", "WrongOption", "read_options"]

Takes: TypeAlias = Literal["nothing", "argument", "maybe"]


class Option(Struct, frozen=True):
    """An option: its letter, its long names and whether it takes an argument."""

    letter: str
    names: tuple[str, ...]
    takes: Takes = "nothing"


class WrongOption(Exception):
    """What getopt says of an option that is wrong."""


def read_options(
    arguments: Sequence[str], options: Sequence[Option]
) -> Iterator[tuple[str, str | None]]:
    """Give each option's letter and argument; what is no option is passed over.

    Raises:
        WrongOption: when the options before the wrong one have been given.
    """
    letters = {option.letter: option for option in options}
    names = {name: option for option in options for name in option.names}
    left = list(reversed(arguments))
    while left:
        word = left.pop()
        if word == "--":
            return
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found = _find_name(name, names)
            option = names[found]
            argument = value if equals else None
            if equals and option.takes == "nothing":
                raise WrongOption(f"option '--{found}' doesn't allow an argument")
            if not equals and option.takes == "argument":
                if not left:
                    raise WrongOption(f"option '--{found}' requires an argument")
                argument = left.pop()
            yield option.letter, argument
        elif word.startswith("-") and word != "-":
            rest = word[1:]
            while rest:
                letter, rest = rest[0], rest[1:]
                if letter not in letters:
                    raise WrongOption(f"invalid option -- '{letter}'")
                takes = letters[letter].takes
                if takes == "nothing":
                    yield letter, None
                    continue
                if not rest and takes == "argument":
                    if not left:
                        raise WrongOption(f"option requires an argument -- '{letter}'")
                    rest = left.pop()
                yield letter, rest or None if takes == "maybe" else rest
                rest = ""


def _find_name(name: str, names: dict[str, Option]) -> str:
    """Find the long name that *name* begins, if it is only one option's."""
    if name in names:
        return name
    found = [known for known in names if known.startswith(name)]
    if not found:
        raise WrongOption(f"unrecognized option '--{name}'")
    if len({names[known].letter for known in found}) > 1:
        known = " ".join(f"'--{known}'" for known in found)
        raise WrongOption(f"option '--{name}' is ambiguous; possibilities: {known}")
    return found[0]
