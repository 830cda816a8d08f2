"""The program sed: reading its input and running a script."""

import os
import re
import signal
from collections import deque
from contextlib import suppress

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import STEP_BYTES, Killed, Process, Steps, Waiting
from qgasim.userland.limits import check_size, to_int
from qgasim.userland.programs.getopt import Options, not_simulated, parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.lstat import look
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.sed_script import (
    Address,
    Instruction,
    NotSimulatedError,
    ScriptError,
    compile_script,
)

__all__: list[str] = []

_LONG = {
    "quiet": "n", "silent": "n", "expression": "e", "in-place": "i", "regexp-extended": "E",
}  # fmt: skip
#: Jumps in one cycle after which a script is taken to run for ever.
_MAX_STEPS = 100_000
#: How long the pattern space may become, in characters.
_MAX_SPACE = 16 << 20


@program("sed")
def sed(p: Process) -> Steps:
    """Edit lines by a script."""
    options = yield from parse(p, "nEre:i::", _LONG)
    words = list(options.operands)
    text = yield from _script(p, options, words)
    is_extended = "E" in options or "r" in options
    try:
        script = compile_script(text, extended=is_extended, is_busybox=is_busybox(p))
    except NotSimulatedError as error:
        return (yield from not_simulated(p, str(error)))
    except ScriptError as error:
        where = f"-e expression #1, char {error.at}: {error}"
        return (yield from fail(p, pick(p, error.busybox or str(error), where)))
    if "i" not in options:
        editor = _Editor(p, script, is_quiet="n" in options)
        source = Source(p, words)
        yield from editor.run(source, 1)
        return editor.code or (pick(p, 1, 2) if source.has_failed else 0)
    status = 0
    for path in words:
        status = (yield from _edit_in_place(p, script, path, options)) or status
    return status


def _script(p: Process, options: Options, words: list[str]) -> Waiting[str]:
    if "e" in options:
        return "\n".join(options.all("e"))
    if not words:
        with suppress(OSError):
            usage = "Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n"
            yield from p.write(2, pick(p, "", usage))
        yield from usage_error(p)
    return words.pop(0)


def _edit_in_place(
    p: Process, script: list[Instruction], path: str, options: Options
) -> Waiting[int]:
    """Write the result to a new file, which then replaces the old one."""
    files = p.guest.files
    editor = _Editor(p, script, is_quiet="n" in options)
    number = max(p.files, default=2) + 1
    new = f"{path.rpartition('/')[0] or '.'}/sed{''.join(p.guest.random.choices('ABCXYZ019', k=6))}"
    try:
        inode = look(p, path)
        p.files[number] = yield from p.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        yield from complain(
            p, f"{pick(p, '', 'can' + chr(39) + 't read ')}{path}: {explain(error)}"
        )
        return pick(p, 1, 2)
    try:
        yield from editor.run(Source(p, [path]), number)
    finally:
        p.files.pop(number).close()
    yield from p.call(files.chmod, new, inode.mode & 0o7777, p.cwd)
    yield from p.call(files.chown, new, inode.uid, inode.gid, p.cwd)
    suffix = options.get("i")
    if suffix:
        yield from p.call(files.rename, path, path + suffix, p.cwd)
    yield from p.call(files.rename, new, path, p.cwd)
    return editor.code


class _Done(Exception):
    """No more cycles: ``q``, or ``n`` at the end."""


class _Editor:
    def __init__(self, p: Process, script: list[Instruction], *, is_quiet: bool) -> None:
        self.p = p
        self.script = script
        self.is_quiet = is_quiet
        self.space = ""
        self.number = 0
        self.code = 0
        #: Whether the line in the pattern space had a newline at its end.
        self.has_end = True
        self.waiting: deque[bytes] = deque()
        self.source = Source(p, [])
        self.out = 1
        self.lines: list[str] = []
        self.appended: list[str] = []
        #: Ranges that have begun, and the line at which they end (None: at the second address).
        self.open: dict[int, int | None] = {}
        self.needs_end = False

    def run(self, source: Source, out: int) -> Waiting[None]:
        """Edit all lines of *source*."""
        self.source, self.out = source, out
        try:
            while (yield from self._next()):
                yield from self._cycle()
                if len(self.lines) > 1000:
                    yield from self._flush()
        except _Done:
            pass
        yield from self._flush()

    def _flush(self) -> Waiting[None]:
        text = "".join(self.lines)
        self.lines.clear()
        yield from self.p.write(self.out, encode_name(text))

    def _fill(self) -> Waiting[None]:
        """See to it that there are two lines to read if the input has so many."""
        while len(self.waiting) < 2:
            lines = yield from self.source.lines()
            if not lines:
                return
            self.waiting.extend(lines)

    def _next(self) -> Waiting[bool]:
        yield from self._fill()
        if not self.waiting:
            return False
        self.space = self._take()
        return True

    def _take(self) -> str:
        raw = self.waiting.popleft()
        self.has_end = raw.endswith(b"\n")
        self.number += 1
        return decode_name(raw.removesuffix(b"\n"))

    def _is_last(self) -> Waiting[bool]:
        yield from self._fill()
        return not self.waiting

    def _print(self, text: str) -> None:
        # Text after a last line without newline begins on a line of its own.
        start = "\n" if self.needs_end else ""
        self.needs_end = not self.has_end
        self.lines.append(start + text + ("\n" if self.has_end else ""))

    def _end_cycle(self, *, prints: bool = True) -> None:
        if prints and not self.is_quiet:
            self._print(self.space)
        for text in self.appended:
            start = "\n" if self.needs_end else ""
            self.needs_end = False
            self.lines.append(f"{start}{text}\n")
        self.appended.clear()

    # -- addresses -----------------------------------------------------------------------------

    def _matches(self, address: Address) -> Waiting[bool]:
        if address.regex is not None:
            return address.regex.search(self.space) is not None
        if address.is_last:
            return (yield from self._is_last())
        return self.number == address.line

    def _is_chosen(self, at: int, instruction: Instruction) -> Waiting[bool]:
        first, last = instruction.first, instruction.last
        if first is None:
            chosen = True
        elif last is None:
            chosen = yield from self._matches(first)
        elif at in self.open:
            chosen = yield from self._is_inside(at, last)
        else:
            chosen = yield from self._matches(first)
            if chosen:
                end = None if last.regex is not None or last.is_last else last.line
                if last.is_last or end is None or end > self.number:
                    self.open[at] = end
        return chosen != instruction.is_negated

    def _is_inside(self, at: int, last: Address) -> Waiting[bool]:
        end = self.open[at]
        if end is None:
            if (yield from self._matches(last)):
                del self.open[at]
            return True
        if self.number >= end:
            del self.open[at]
        return self.number <= end

    # -- commands ------------------------------------------------------------------------------

    def _cycle(self) -> Waiting[None]:
        at = steps = 0
        is_replaced = False
        while at < len(self.script):
            steps += 1
            if steps > _MAX_STEPS:
                yield from fail(self.p, "the script does not end", 4)
            if len(self.space) > _MAX_SPACE:
                raise Killed(signal.SIGKILL)
            yield from self.p.charge_steps(1 + len(self.space) // STEP_BYTES)
            instruction = self.script[at]
            at += 1
            name = instruction.name
            if not (yield from self._is_chosen(at - 1, instruction)):
                if name == "{":
                    at = instruction.jump
                continue
            if name == "s":
                done = self._substitute(instruction)
                is_replaced = is_replaced or done
            elif name == "b" or (name == "t" and is_replaced):
                is_replaced = False
                at = instruction.jump
            elif name == "d":
                self._end_cycle(prints=False)
                return
            elif name == "q":
                self.code = to_int(instruction.text or "0")
                self._end_cycle()
                raise _Done
            elif name in "nN":
                yield from self._read_more(name)
            elif name == "c":
                is_inner = instruction.last is not None and at - 1 in self.open
                if instruction.is_negated or not is_inner:
                    self.lines.append(instruction.text + "\n")
                self._end_cycle(prints=False)
                return
            elif name == "p":
                self._print(self.space)
            elif name == "i":
                self.lines.append(instruction.text + "\n")
            elif name == "a":
                self.appended.append(instruction.text)
        self._end_cycle()

    def _read_more(self, name: str) -> Waiting[None]:
        if (yield from self._is_last()):
            # GNU prints the pattern space before it ends for want of a next line.
            self._end_cycle(prints=name == "n" or pick(self.p, False, True))
            raise _Done
        if name == "n":
            self._end_cycle()
            self.space = self._take()
        else:
            self.space += "\n" + self._take()

    def _substitute(self, instruction: Instruction) -> bool:
        assert instruction.regex is not None
        parts: list[str] = []
        at = count = size = 0
        last_end = -1
        for found in instruction.regex.finditer(self.space):
            if found.start() == found.end() == last_end:
                continue
            last_end = found.end()
            count += 1
            if count < instruction.number:
                continue
            parts += [self.space[at : found.start()], _expand(instruction.replacement, found)]
            size += len(parts[-1])
            check_size(size)
            at = found.end()
            if not instruction.is_global:
                break
        if not parts:
            return False
        self.space = "".join(parts) + self.space[at:]
        if instruction.prints:
            self._print(self.space)
        return True


def _expand(replacement: list[str | int], found: re.Match[str]) -> str:
    return "".join(part if isinstance(part, str) else found[part] or "" for part in replacement)
