"""Where the programs are that a shell runs."""

import errno
from collections.abc import Iterator

from qgasim.userland.shell.state import DEFAULT_PATH
from qgasim.userland.shell.tracing import Tracing

__all__ = ["ProgramFinder"]


class ProgramFinder(Tracing):
    """A shell that looks for programs in PATH."""

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
