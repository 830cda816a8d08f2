"""Reading files as the text programs do: several in turn, line by line, ``-`` for standard input."""

from collections.abc import Callable, Sequence

from pyfakefs.fake_file import FakeFile

from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import LINE_SIZE, Process, Waiting
from qgasim.userland.programs.messages import complain, explain, is_busybox, quote, quote_if_odd

__all__ = [
    "CHUNK",
    "Source",
    "cannot_read",
    "open_input",
    "read_input",
    "split_lines",
]

CHUNK = 65536

#: Programs of GNU whose message about a file that can't be opened has a form of its own.
GNU_OPEN = {
    "head": "cannot open {quoted} for reading: {why}",
    "tail": "cannot open {quoted} for reading: {why}",
    "sort": "cannot read: {odd}: {why}",
    "awk": "cannot open {name} ({why})",
    "grep": "{name}: {why}",
    "sed": "can't read {name}: {why}",
}
GNU_READ = {
    "head": "error reading {quoted}: {why}",
    "tail": "error reading {quoted}: {why}",
    "sort": "read failed: {name}: {why}",
    "sed": "read error on {name}: {why}",
    "awk": "read error ({why})",
}
#: Programs that end if a file cannot be read.
READ_ERRORS_END = frozenset({"awk", "sed"})
#: Programs of BusyBox that say "can't open": those that need the file.
BUSYBOX_OPEN = frozenset({"cat", "tail"})
BUSYBOX_READ = {
    "cat": "read error: {why}",
    "tail": "read error: {why}",
    "head": "{name}: Input/output error",
    "awk": "cmd. line:1: {why}",
}


def _cannot_open(p: Process, path: str, error: OSError, *, by_lines: bool) -> Waiting[None]:
    """Report that *path* can't be opened."""
    if is_busybox(p):
        says_so = p.name in BUSYBOX_OPEN and not by_lines
        form = "can't open '{name}': {why}" if says_so else "{name}: {why}"
    else:
        form = GNU_OPEN.get(p.name, "{odd}: {why}")
    return complain(p, form.format_map(_names(p, path, error)))


def _names(p: Process, path: str, error: OSError) -> dict[str, str]:
    if path == "-" and p.name == "grep":
        path = "(standard input)"
    shown = {"name": path, "quoted": quote(path), "odd": quote_if_odd(path)}
    return shown | {"why": explain(error)}


def cannot_read(p: Process, path: str, error: OSError) -> Waiting[None]:
    """Report that *path* is open but can't be read: it is a directory, mostly."""
    forms = BUSYBOX_READ if is_busybox(p) else GNU_READ
    form = forms.get(p.name, "{name}: {why}")
    return complain(p, form.format_map(_names(p, path, error)))


def open_input(
    p: Process, path: str, *, quiet: bool = False, by_lines: bool = False
) -> Waiting[OpenFile | None]:
    """Open *path* to read from; None, after a message, if that can't be."""
    try:
        if path == "-":
            file = p.descriptor(0)
            file.retain()
            return file
        return (yield from p.open(path))
    except OSError as error:
        if not quiet:
            yield from _cannot_open(p, path, error, by_lines=by_lines)
        return None


def split_lines(p: Process, data: bytes) -> list[bytes]:
    """Take *data* apart at each newline, which is not kept, once there is memory for the lines."""
    p.take_memory(LINE_SIZE * data.count(b"\n"))
    return data.split(b"\n")


def read_input(p: Process, path: str) -> Waiting[bytes | None]:
    """Read all of *path*; None, after a message, if that can't be."""
    file = yield from open_input(p, path)
    if file is None:
        return None
    try:
        data = yield from p.read_rest(file)
    except OSError as error:
        if is_busybox(p):
            return b""
        yield from cannot_read(p, path, error)
        return None
    else:
        return end_at_nul(p, data)
    finally:
        file.close()


def end_at_nul(p: Process, data: bytes) -> bytes:
    """Return *data* with a newline for each NUL, if that ends a line, too: for applets that read strings."""
    return (
        data.replace(b"\0", b"\n") if is_busybox(p) and p.name in ("cat", "cut", "sort") else data
    )


class Source:
    """The lines of several files, in batches, so that an endless one can be read, too."""

    def __init__(self, p: Process, paths: Sequence[str]) -> None:
        self.p = p
        self.todo = list(paths) or ["-"]
        #: The file that the last batch came from.
        self.path = ""
        self.has_failed = False
        self.has_read_error = False
        #: Whether to say nothing about files that can't be read.
        self.is_quiet = False
        #: Whether a file that cannot be read is the last.
        self.stops_at_failure = False
        #: Called with the file's name when one begins.
        self.on_file: Callable[[str], None] = lambda _path: None
        self._file: OpenFile | None = None
        #: The beginning of a line whose end is not read yet.
        self._rest: list[bytes] = []

    @property
    def node(self) -> FakeFile | None:
        """The inode of the file that is read."""
        return None if self._file is None else self._file.node

    def lines(self) -> Waiting[list[bytes]]:
        """Return the next lines with their newlines; only a file's last may lack it; none at the end."""
        while True:
            if self._file is None:
                if not self.todo:
                    return []
                self.path = self.todo.pop(0)
                self._file = yield from open_input(
                    self.p, self.path, quiet=self.is_quiet, by_lines=True
                )
                if self._file is None:
                    self.has_failed = True
                    if self.stops_at_failure:
                        self.todo.clear()
                    continue
                self.on_file(self.path)
            data: bytes = yield from self._read(self._file)
            if not data:
                self.skip()
                if self._rest:
                    return [self._take_rest()]
                continue
            if b"\n" in data:
                lines = _split(self._take_rest() + data)
                if not lines[-1].endswith(b"\n"):
                    self._keep(lines.pop())
                yield from self.p.charge_steps(len(lines))
                return lines
            self._keep(data)

    def _keep(self, part: bytes) -> None:
        self.p.take_memory(len(part))
        self._rest.append(part)

    def _take_rest(self) -> bytes:
        rest = b"".join(self._rest)
        self.p.take_memory(-len(rest))
        self._rest.clear()
        return rest

    def _read(self, file: OpenFile) -> Waiting[bytes]:
        try:
            return end_at_nul(self.p, (yield from self.p.call(file.read, CHUNK)))
        except OSError as error:
            if is_busybox(self.p) and self.p.name != "awk":
                # Applets that read by lines take an error for the end.
                return b""
            self.has_failed = self.has_read_error = True
            if self.p.name in READ_ERRORS_END:
                self.todo.clear()
            if not self.is_quiet:
                yield from cannot_read(self.p, self.path, error)
            return b""

    def skip(self) -> None:
        """Leave the rest of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _split(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    last = parts.pop()
    lines = [part + b"\n" for part in parts]
    return [*lines, last] if last else lines
