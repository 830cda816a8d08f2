"""What ``set -x`` shows of commands, and how shells quote."""

from collections.abc import Callable

from qgasim.guest.processes.process import Waiting
from qgasim.userland.shell.children import ShellProcess
from qgasim.userland.shell.parser import KEYWORDS
from qgasim.userland.shell.quoting import quote, quote_always, quote_as_bash
from qgasim.userland.shell.redirection import Saved
from qgasim.userland.shell.syntax import Simple

__all__ = ["Tracing"]


class Tracing(ShellProcess):
    """A shell that shows what it does."""

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
