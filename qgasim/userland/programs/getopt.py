"""A getopt(3) for the guest's programs.

A program says which options it simulates (`parse`). One that the real program knows besides (`KNOWN`) ends it
with a line that says so; one that the real program does not know is its usage error.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from qgasim.guest.machine import Machine
from qgasim.guest.processes.process import Process, ProgramExit, Waiting
from qgasim.userland.programs.known_options import KNOWN
from qgasim.userland.programs.messages import (
    complain,
    fail,
    failure_status,
    is_busybox,
    label,
    quote_text,
)

__all__ = [
    "Declared",
    "Options",
    "Question",
    "is_known",
    "known_options",
    "missing_operand",
    "not_simulated",
    "parse",
    "split_letters",
    "usage_error",
]

BUSYBOX_BANNER = (
    "BusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) multi-call binary.\n\nUsage: {name} ...\n"
)
#: Of programs that are not to be run to be asked: the options in their manuals (systemd 252, util-linux 2.38.1,
#: sysvinit-utils 3.06). UNVERIFIED: those that their sources take and the manuals leave out, such as ``shutdown -t``.
_MANUALS = {
    "fsfreeze": "-Vfhu freeze help unfreeze version",
    "halt": "-dfhinpw force halt help no-sync no-wall no-wtmp poweroff reboot wtmp-only",
    "hwclock": "-DVafhlrsuvw adjfile adjust date delay directisa epoch get getepoch hctosys help localtime noadjfile"
    " param-get param-set predict rtc set setepoch show systohc systz test update-drift utc verbose version",
    "pidof": "-Scdnoqsxz",
    "shutdown": "-FHKPacfhkrt halt help no-wall poweroff reboot show",
    "systemctl": "-HMPTafhilnopqrst after all before boot-loader-entry boot-loader-menu check-inhibitors dry-run fail failed"
    " firmware-setup force full global help host ignore-inhibitors image job-mode kill-who kill-whom legend lines machine marked"
    " message mkdir no-ask-password no-block no-legend no-pager no-reload no-wall no-warn now output plain preset-mode"
    " property quiet read-only reboot-argument recursive reverse root runtime show-transaction show-types signal state system timestamp"
    " type user value version wait what with-dependencies",
}
_MANUALS.update(dict.fromkeys(("poweroff", "reboot"), _MANUALS["halt"]))


class Options:
    """A command line taken apart: options by letter, with their values in order, and operands."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.operands: list[str] = []

    def __contains__(self, letter: str) -> bool:
        return any(name == letter for name, _ in self.given)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.given)

    def get(self, letter: str) -> str | None:
        """Return the last value of an option; None if it was not given."""
        return next((value for name, value in reversed(self.given) if name == letter), None)

    def all(self, letter: str) -> list[str]:
        """Return all values of an option."""
        return [value for name, value in self.given if name == letter]

    def last(self, letters: str) -> str:
        """Return which of *letters* was given last; nothing if none was."""
        return next((name for name, _ in reversed(self.given) if name in letters), "")


def usage_error(p: Process, text: str = "") -> Waiting[NoReturn]:
    """Write *text* and how to use the program, and end."""
    if text:
        yield from complain(p, text)
    # BusyBox prints its whole help here; we keep to the form of its first lines.
    usage = BUSYBOX_BANNER.format(name=p.name)
    if not is_busybox(p):
        usage = f"Try '{label(p)} --help' for more information.\n"
        if p.name == "grep":
            usage = f"Usage: {label(p)} [OPTION]... PATTERNS [FILE]...\n{usage}"
    with suppress(OSError):
        yield from p.write(2, usage)
    raise ProgramExit(failure_status(p))


def missing_operand(p: Process, after: str | None = None) -> Waiting[NoReturn]:
    """End because there are too few operands; *after* is the last one that there is."""
    text = "missing operand" if after is None else f"missing operand after {quote_text(after)}"
    return usage_error(p, "" if is_busybox(p) else text)


def not_simulated(p: Process, what: str, code: int | None = None) -> Waiting[NoReturn]:
    """End because of something that the real program knows, and this one does not."""
    remedy = "give the program under programs: in the scenario"
    return fail(p, f"{what} is not simulated by qgasim ({remedy})", code)


def known_options(userland: str, name: str) -> tuple[str, list[str]]:
    """Return the options that a real program knows: letters, and long names."""
    words = (KNOWN[userland].get(name) or _MANUALS.get(name, "")).split()
    letters = words[0][1:] if words and words[0].startswith("-") else ""
    return letters, words[bool(letters) :]


def is_known(p: Process, option: str) -> bool:
    """Return whether the real program knows *option*, which has its hyphens."""
    letters, long = known_options(p.guest.settings.os.userland, p.name)
    name = option.lstrip("-")
    return option != name and (name in long or (len(name) == 1 and name in letters))


def split_letters(letters: str) -> dict[str, str]:
    """Return the options in getopt's form, and the colons after each."""
    takes: dict[str, str] = {}
    for letter, following in zip(letters, f"{letters[1:]} ", strict=False):
        if letter != ":":
            takes[letter] = ":" if following == ":" else ""
    for letter in takes:
        if f"{letter}::" in letters:
            takes[letter] = "::"
    return takes


class Declared(BaseException):
    """The options that a program simulates: `parse` raises it for a `Question`."""

    def __init__(self, letters: str, long: Mapping[str, str]) -> None:
        super().__init__(letters)
        self.letters = letters
        self.long = long


class Question:
    """Stands for the process of a program that is asked which options it simulates."""

    def __init__(self, name: str, guest: Machine) -> None:
        self.name = name
        self.argv = [name]
        self.guest = guest


class _Parser:
    def __init__(self, p: Process, letters: str, long: Mapping[str, str]) -> None:
        self.p = p
        self.long = long
        self.found = Options()
        self.takes = split_letters(letters)
        known_letters, known_long = self._known()
        if is_busybox(p) and (known_letters or known_long):
            # The programs are written for GNU's options, of which an applet has only some.
            self.takes = {x: takes for x, takes in self.takes.items() if x in known_letters}
            self.long = {x: key for x, key in long.items() if x in known_long}

    def _known(self) -> tuple[str, list[str]]:
        return known_options(self.p.guest.settings.os.userland, self.p.name)

    def take_long(self, argument: str, rest: list[str]) -> Waiting[None]:
        name, equals, value = argument[2:].partition("=")
        matches = [name] if name in self.long else [n for n in self.long if n.startswith(name)]
        if name not in self.long:
            real = [n for n in self._known()[1] if n.startswith(name)]
            others = [n for n in real if n not in self.long]
            # In the order of the program's own table.
            candidates = [*real, *(n for n in matches if n not in real)]
            if name not in real and len({self.long.get(n, n) for n in candidates}) > 1:
                names = " ".join(f"'--{candidate}'" for candidate in candidates)
                yield from usage_error(
                    self.p, f"option '--{name}' is ambiguous; possibilities: {names}"
                )
            if name in real or (others and not matches):
                what = name if name in real else others[0]
                yield from not_simulated(self.p, f"option '--{what}'")
        keys = {self.long[match] for match in matches}
        if len(keys) != 1:
            # BusyBox's head is the only one that asks getopt(3).
            is_short = is_busybox(self.p) and self.p.name == "head"
            wrong = "invalid option -- '-'" if is_short else f"unrecognized option '{argument}'"
            yield from usage_error(self.p, wrong)
        key = keys.pop()
        takes = key[len(key.rstrip(":")) :] or self.takes.get(key, "")
        key = key.rstrip(":") or key
        if equals and not takes:
            yield from usage_error(self.p, f"option '--{matches[0]}' doesn't allow an argument")
        if takes == ":" and not equals:
            if not rest:
                yield from usage_error(self.p, f"option '--{matches[0]}' requires an argument")
            value = rest.pop(0)
        self.found.given.append((key, value))

    def take_short(self, argument: str, rest: list[str]) -> Waiting[None]:
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            takes = self.takes.get(letter)
            if takes is None:
                if letter in self._known()[0]:
                    yield from not_simulated(self.p, f"option '-{letter}'")
                yield from usage_error(self.p, f"invalid option -- '{letter}'")
            value = ""
            if takes:
                value, letters = letters, ""
                if not value and takes == ":":
                    if not rest:
                        yield from usage_error(self.p, f"option requires an argument -- '{letter}'")
                    value = rest.pop(0)
            self.found.given.append((letter, value))


def parse(
    p: Process | Question,
    letters: str,
    long: Mapping[str, str] | None = None,
    *,
    in_order: bool = False,
    arguments: Sequence[str] | None = None,
) -> Waiting[Options]:
    """Take the arguments apart; a wrong option ends the program.

    *letters* are getopt's: ``n:`` takes a value, ``i::`` one that is attached. *long* names long
    options' letters; ``"reference:"`` is a name without a letter that takes a value, ``"color::"`` one
    that takes one after ``=``. With *in_order* the first operand ends the options.
    """
    if isinstance(p, Question):
        raise Declared(letters, long or {})
    parser = _Parser(p, letters, long or {})
    rest = list(p.argv[1:] if arguments is None else arguments)
    operands = parser.found.operands
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            operands += rest
            break
        if argument.startswith("--") and len(argument) > 2:
            yield from parser.take_long(argument, rest)
        elif argument.startswith("-") and len(argument) > 1:
            yield from parser.take_short(argument, rest)
        else:
            operands.append(argument)
            if in_order:
                operands += rest
                break
    return parser.found
