"""Options as GNU getopt_long reads them, with its texts for those that are wrong.

Python's own `getopt` knows no optional arguments before 3.14, and has other texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

from msgspec import Struct

__all__ = ["WRONG", "Option", "read_options"]

Takes: TypeAlias = Literal["nothing", "argument", "maybe"]
#: The letter of an option that is wrong; its argument is getopt's message.
WRONG: Final = "?"


class Option(Struct, frozen=True):
    """An option: its letter, its long names and whether it takes an argument."""

    letter: str
    names: tuple[str, ...]
    takes: Takes = "nothing"


def read_options(
    arguments: Sequence[str], options: Sequence[Option]
) -> Iterator[tuple[str, str | None]]:
    """Yield each option's letter and argument; words that are no options are skipped."""
    letters = {option.letter: option for option in options}
    names = {name: option for option in options for name in option.names}
    left = list(reversed(arguments))
    while left:
        word = left.pop()
        if word == "--":
            return
        if word.startswith("--"):
            yield _read_long(word[2:], names, left)
        elif word.startswith("-") and word != "-":
            yield from _read_letters(word[1:], letters, left)


def _read_long(word: str, names: dict[str, Option], left: list[str]) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    found = [name] if name in names else [known for known in names if known.startswith(name)]
    if not found:
        return WRONG, f"unrecognized option '--{name}'"
    if len({names[known].letter for known in found}) > 1:
        known = " ".join(f"'--{known}'" for known in found)
        return WRONG, f"option '--{name}' is ambiguous; possibilities: {known}"
    option = names[found[0]]
    if equals and option.takes == "nothing":
        return WRONG, f"option '--{found[0]}' doesn't allow an argument"
    if not equals and option.takes == "argument":
        if not left:
            return WRONG, f"option '--{found[0]}' requires an argument"
        return option.letter, left.pop()
    return option.letter, value if equals else None


def _read_letters(
    word: str, letters: dict[str, Option], left: list[str]
) -> Iterator[tuple[str, str | None]]:
    for place, letter in enumerate(word, 1):
        if letter not in letters:
            yield WRONG, f"invalid option -- '{letter}'"
            continue
        takes = letters[letter].takes
        if takes == "nothing":
            yield letter, None
            continue
        rest = word[place:]
        if not rest and takes == "argument":
            if not left:
                yield WRONG, f"option requires an argument -- '{letter}'"
                return
            rest = left.pop()
            yield letter, rest
        else:
            yield letter, rest or None
        return
