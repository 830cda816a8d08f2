"""What comes before a simple command runs: expansions, assignments, bash's redirections; and what ``set -x`` shows."""

import errno
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Final

from qgasim.guest.processes.process import Steps, Waiting
from qgasim.userland.shell import patterns
from qgasim.userland.shell.children import ShellProcess
from qgasim.userland.shell.parser import KEYWORDS
from qgasim.userland.shell.quoting import quote, quote_always, quote_as_bash
from qgasim.userland.shell.redirection import RedirectionFailed, Saved
from qgasim.userland.shell.specials import restart_seconds
from qgasim.userland.shell.state import DEFAULT_PATH, ReadOnly, ShellError, Variable
from qgasim.userland.shell.syntax import Assignment, Simple, Text, Word

__all__ = ["Preparation"]

#: Builtins whose arguments may be assignments: what they assign is not split.
ASSIGNING: Final = frozenset(("export", "readonly", "local"))


class Preparation(ShellProcess):
    """A shell that finds programs in PATH, and prepares simple commands; with ``set -x`` it shows them."""

    @abstractmethod
    def find_builtin(self, name: str) -> Callable[[list[str]], Steps | int] | None:
        """Return what the shell does itself for the command *name*."""

    def redirect_as_bash(
        self, node: Simple, before: dict[str, Variable | None], argv: list[str]
    ) -> Waiting[Saved | None]:
        """Do redirections, for which what is assigned for the command is not there yet.

        Those of a program are the business of the process that becomes it: None if it has ended by an error.
        """
        state = self.state
        if not node.redirections:
            return {}
        is_program = (
            bool(argv) and argv[0] not in state.functions and not self.find_builtin(argv[0])
        )
        assigned = {name: state.variables.get(name) for name in before}
        for name, variable in before.items():
            state.put_back(name, variable)
        variables = dict(state.variables)
        try:
            return (yield from self.redirector.apply(node.redirections))
        except RedirectionFailed:
            raise
        except ShellError as error:
            if not is_program:
                raise
            yield from self.complain(error)
            state.status = error.status
            return None
        finally:
            if is_program and state.variables != variables:
                for name in {*variables, *state.variables}:
                    state.put_back(name, variables.get(name))
            for name, variable in assigned.items():
                state.put_back(name, variable)

    def assign(
        self, assignments: list[Assignment], before: dict[str, Variable | None] | None
    ) -> Waiting[None]:
        """Set variables; with *before*, for one command, and what they were is put there."""
        state = self.state
        for item in assignments:
            value = yield from self.expander.expand_string(item.value, is_assignment=True)
            yield from self.trace_assignment(item.name, value)
            if before is not None:
                before.setdefault(item.name, state.variables.get(item.name))
            if before is None:
                if item.name == "SECONDS" and state.flavour.is_bash:
                    restart_seconds(self, value)
                else:
                    state.assign(item.name, value)
                continue
            try:
                state.set(item.name, value, exported=True)
            except ReadOnly as error:
                if not state.flavour.is_bash or "e" in state.options:
                    raise
                yield from self.complain(error)

    def expand_arguments(self, words: list[Word]) -> Waiting[list[str]]:
        if not words:
            return []
        first = words[0][0]
        name = first.text if isinstance(first, Text) and len(words[0]) == 1 else ""
        if name == "[[" and "x" in self.state.options and self.state.flavour.is_bash:
            raise self.refuse("[[ with set -x")
        if name == "[[" and self.state.flavour.is_bash:
            return (yield from self._expand_test(words))
        if name not in ASSIGNING:
            return (yield from self.expander.expand_words(words))
        argv: list[str] = []
        for word in words:
            head = word[0]
            if isinstance(head, Text) and "=" in head.text and not head.is_quoted:
                argv.append((yield from self.expander.expand_string(word, is_assignment=True)))
            else:
                argv += yield from self.expander.expand_words([word])
        return argv

    def _expand_test(self, words: list[Word]) -> Waiting[list[str]]:
        """Expand the arguments of ``[[``; a comparison with a pattern becomes its result."""
        argv: list[str] = []
        operator = ""
        for word in words:
            if operator:
                pattern = yield from self.expander.expand_pattern(word)
                is_match = patterns.matches(pattern, argv.pop())
                argv.append("yes" if is_match == (operator != "!=") else "")
                operator = ""
                continue
            text = yield from self.expander.expand_string(word)
            if text in ("=", "==", "!=") and len(argv) > 1 and word is not words[-2]:
                operator = text
            else:
                argv.append(text)
        return argv

    def describe_missing(self, name: str, error: OSError) -> str:
        """Return the message about a program that cannot be run."""
        words = self.state.words
        if self.state.flavour.is_bash and error.errno == errno.ENOTDIR:
            return f"{name}: {error.strerror}"
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            if self.state.flavour.is_bash and "/" not in name and self.finds_directory(name):
                return words.not_found.format(name)
            if self.state.flavour.is_bash and self.p.guest.files.is_dir(name, self.p.cwd):
                return f"{name}: Is a directory"
            return f"{name}: {error.strerror}"
        if "/" not in name and not self.state.flavour.is_bash:
            # What is found there, but is no program, is forbidden (find_command() of exec.c).
            files = self.p.guest.files
            if any(files.exists(path, self.p.cwd) for path in self.candidates(name)):
                return f"{name}: Permission denied"
        is_path = "/" in name or (self.state.flavour.is_bash and not self.state.get("PATH"))
        return (words.path_not_found if is_path else words.not_found).format(name)

    def finds_directory(self, name: str) -> bool:
        """Return whether PATH leads to a directory *name*."""
        files, cwd = self.p.guest.files, self.p.cwd
        return any(files.is_dir(path, cwd) for path in self.candidates(name))

    def find_in_path(self, name: str) -> str | None:
        """Return the file that is run for *name*; None if there is none."""
        files, cwd = self.p.guest.files, self.p.cwd
        if "/" in name:
            return name if files.can_execute(name, cwd) else None
        paths = self.candidates(name) if name else ()
        return next((path for path in paths if files.can_execute(path, cwd)), None)

    def remember(self, name: str) -> None:
        """Remember where the program *name* is, as a shell does that has looked for it."""
        if "/" not in name and (path := self.find_in_path(name)) is not None:
            self.state.hashed[name] = path

    def candidates(self, name: str) -> Iterator[str]:
        """Return where the program *name* can be, in the order of PATH."""
        search = self.state.get("PATH")
        for directory in (DEFAULT_PATH if search is None else search).split(":"):
            yield f"{directory}/{name}" if directory else name

    def trace_simple(self, node: Simple, argv: list[str], saved: Saved) -> Waiting[None]:
        """Show a simple command that runs *argv*, and for all but bash what it assigns before."""
        state = self.state
        if state.flavour.is_bash:
            if argv[:1] == ["(("]:
                yield from self.trace(f"(( {argv[1]} ))", saved)
            elif argv:
                yield from self.trace(" ".join(map(quote_as_bash, argv)), saved)
            return
        while state.flavour.is_ash and (rest := _strip_command(argv)):
            argv = rest
        show: Callable[[str], str] = str if state.flavour.is_dash else quote
        shown = [f"{a.name}={show(state.get(a.name) or '')}" for a in node.assignments]
        shown += [
            quote_always(word) if word in KEYWORDS and state.flavour.is_ash else show(word)
            for word in argv
        ]
        yield from self.trace(" ".join(shown), saved)

    def trace_assignment(self, name: str, value: str) -> Waiting[None]:
        """Show an assignment as bash does, before it is made."""
        if self.state.flavour.is_bash and "x" in self.state.options:
            yield from self.trace(f"{name}={value and quote_as_bash(value)}", {})

    def trace(self, text: str, saved: Saved) -> Waiting[None]:
        """Show what ``set -x`` shows, where the shell's messages go, not the command's."""
        state = self.state
        prompt = state.get("PS4") or ""
        if state.flavour.is_bash:
            # Its first character stands there once more for each substitution around.
            prompt = prompt[:1] * state.substitutions + prompt
        files = self.p.files
        before = files.get(2)
        shown = saved.get(2, before)
        if shown is None:
            return
        files[2] = shown
        try:
            yield from self.write_error(f"{prompt}{text}\n")
        finally:
            if before is None:
                files.pop(2, None)
            else:
                files[2] = before


def _strip_command(argv: list[str]) -> list[str]:
    """Return what ``command`` runs: parse_command_args() of ash takes it off before the command is shown."""
    if argv[:1] != ["command"]:
        return []
    rest = argv[1:]
    while rest and rest[0][:1] == "-" and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if set(word[1:]) != {"p"}:
            return []
    return rest
