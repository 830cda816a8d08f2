"""What ``set -x`` shows of commands, and how shells quote."""

from collections.abc import Callable

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.processes.process import Waiting
from qgasim.userland.shell.children import ShellProcess
from qgasim.userland.shell.parser import KEYWORDS
from qgasim.userland.shell.redirection import Saved
from qgasim.userland.shell.syntax import Simple

__all__ = ["Tracing", "quote_always"]


class Tracing(ShellProcess):
    """A shell that shows what it does."""

    def trace_simple(self, node: Simple, argv: list[str], saved: Saved) -> Waiting[None]:
        """Show a simple command that assigns, and then runs *argv*."""
        state = self.state
        words = [(a.name, state.get(a.name) or "") for a in node.assignments]
        if state.flavour.is_bash:
            for name, value in words:
                yield from self.trace(f"{name}={value and _quote_as_bash(value)}", saved)
            if argv:
                yield from self.trace(" ".join(map(_quote_as_bash, argv)), saved)
            return
        show: Callable[[str], str] = _quote_word if state.flavour.quotes_trace else str
        shown = [f"{name}={show(value)}" for name, value in words]
        shown += [show(argument) for argument in argv]
        yield from self.trace(" ".join(shown), saved)

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


def _quote_as_bash(text: str) -> str:
    """Put *text* in quotes as bash's ``set -x`` does, if it has a character that means something."""
    if not text:
        return "''"
    is_odd = any(char in " \t\n'\"\\|&;()<>!{}*[?]^$`" for char in text) or text[0] in "#~"
    if is_odd:
        return "'" + text.replace("'", "'\\''") + "'"
    if any(ord(char) < 0x20 or char > "~" for char in text):
        names = {
            7: "a",
            8: "b",
            9: "t",
            10: "n",
            11: "v",
            12: "f",
            13: "r",
            27: "E",
            39: "'",
            92: "\\",
        }
        shown = (
            f"\\{names[byte]}"
            if byte in names
            else chr(byte)
            if 0x20 <= byte < 0x7F
            else f"\\{byte:03o}"
            for byte in encode_name(text)
        )
        return f"$'{''.join(shown)}'"
    return text


def _quote_word(text: str) -> str:
    return quote_always(text) if text in KEYWORDS else quote(text)


def quote(text: str) -> str:
    """Put *text* in quotes as ``set -x`` does, if it needs any."""
    for byte in encode_name(text):
        char = chr(byte)
        if char < "+" or ";" <= char <= "?" or char in "`[\\" or char > "z":
            return quote_always(text)
    return text


def quote_always(text: str) -> str:
    """Put *text* in quotes."""
    if not text:
        return "''"
    out: list[str] = []
    for index, part in enumerate(text.split("'")):
        if index:
            out.append("'")
        out.append(part)
    done = ""
    run = ""
    for part in out:
        if part == "'":
            run += part
        elif part:
            done += (f'"{run}"' if run else "") + f"'{part}'"
            run = ""
    return done + (f'"{run}"' if run else "")
