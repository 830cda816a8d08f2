"""What a shell script is made of: commands and words, as `Parser` finds them."""

from typing import Final, TypeAlias

from msgspec import Struct

__all__ = [
    "NOT_SIMULATED",
    "AndOr",
    "Arithmetic",
    "Assignment",
    "Case",
    "CaseItem",
    "Command",
    "For",
    "Function",
    "Group",
    "If",
    "Item",
    "Loop",
    "Parameter",
    "Part",
    "Pipeline",
    "Redirected",
    "Redirection",
    "Sequence",
    "Simple",
    "Subshell",
    "Substitution",
    "Text",
    "Word",
]

#: The message about a construct that the real shell has and this one does not.
NOT_SIMULATED: Final = "qgasim does not simulate this; give the command its result under programs:"


class Text(Struct, frozen=True):
    """Characters as they stand; only unquoted ones can be patterns, tildes and names of aliases."""

    text: str
    is_quoted: bool = False


class Parameter(Struct, frozen=True):
    """``$name`` or ``${name...}``.

    *operator* is what stands behind the name (``:-``, ``%%``, ``/``, ``:``), or ``length``; *word* and
    *other* are what follows it: a default, a pattern and its replacement, an offset and a length.
    """

    name: str
    is_quoted: bool
    operator: str = ""
    word: "Word" = ()
    other: "Word | None" = None
    is_braced: bool = False


class Substitution(Struct, frozen=True):
    """``$(...)`` or backquotes; *body* is text where bash parses it only when it runs it."""

    body: "Sequence | str"
    is_quoted: bool


class Arithmetic(Struct, frozen=True):
    """``$((...))``."""

    word: "Word"
    is_quoted: bool


Part: TypeAlias = Text | Parameter | Substitution | Arithmetic
Word: TypeAlias = tuple[Part, ...]


class Redirection(Struct):
    """``2>file`` and the like; *target* of ``<<`` is the text, known only when it has been read."""

    number: int
    operator: str
    target: Word
    #: The target as it was written.
    source: str


class Assignment(Struct, frozen=True):
    """``name=value`` before or instead of a command."""

    name: str
    value: Word


class Simple(Struct, frozen=True):
    """A program, function or builtin with its arguments; or only assignments."""

    assignments: list[Assignment]
    words: list[Word]
    redirections: list[Redirection]
    line: int


class Pipeline(Struct, frozen=True):
    """``a | b``, or one command behind ``!``."""

    commands: "list[Command]"
    is_negated: bool


class AndOr(Struct, frozen=True):
    """``a && b`` or ``a || b``."""

    left: "Command"
    operator: str
    right: "Command"


class Item(Struct, frozen=True):
    """A command of a sequence."""

    command: "Command"
    is_background: bool = False


class Sequence(Struct, frozen=True):
    """Commands, one after the other."""

    items: list[Item]


class Subshell(Struct, frozen=True):
    """``( ... )``; *line* is that of its end."""

    body: Sequence
    line: int


class Group(Struct, frozen=True):
    """``{ ...; }``."""

    body: Sequence


class If(Struct, frozen=True):
    """``if``; an ``elif`` is an If as *otherwise*."""

    condition: Sequence
    then: Sequence
    otherwise: "Sequence | If | None"


class Loop(Struct, frozen=True):
    """``while`` or ``until``."""

    condition: Sequence
    body: Sequence
    is_until: bool


class For(Struct, frozen=True):
    """``for``; without ``in`` it goes over the positional parameters."""

    name: str
    words: list[Word] | None
    body: Sequence
    line: int
    #: How it is shown by ``set -x`` of bash.
    source: str


class CaseItem(Struct, frozen=True):
    """Patterns and what to run if one matches."""

    patterns: list[Word]
    body: Sequence | None


class Case(Struct, frozen=True):
    """``case``."""

    word: Word
    items: list[CaseItem]
    line: int
    source: str


class Function(Struct, frozen=True):
    """The definition of a function."""

    name: str
    body: "Command"
    line: int


class Redirected(Struct, frozen=True):
    """A compound command with redirections."""

    command: "Command"
    redirections: list[Redirection]
    line: int


Command: TypeAlias = (
    Simple
    | Pipeline
    | AndOr
    | Sequence
    | Subshell
    | Group
    | If
    | Loop
    | For
    | Case
    | Function
    | Redirected
)
