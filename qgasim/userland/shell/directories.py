"""Builtins for the working directory."""

from qgasim.guest.processes.process import Steps
from qgasim.userland.shell.builtins import parse_options
from qgasim.userland.shell.interpreter import Shell, builtin
from qgasim.userland.shell.quoting import quote_unprintable
from qgasim.userland.shell.state import ShellError

__all__ = ["find_directory"]


def find_directory(shell: Shell, said: str | None) -> str:
    """Return the name of the working directory: *said* if that leads there."""
    p = shell.p
    if said is not None and said.startswith("/"):
        files = p.guest.files
        if (node := files.find(said)) is not None and node is files.find(p.cwd):
            return said
    return p.cwd


def _normalize(directory: str, path: str) -> str:
    """Join and take ``.`` and ``..`` out, without looking at links."""
    names: list[str] = []
    for name in (path if path.startswith("/") else f"{directory}/{path}").split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    # Two slashes may mean something else (POSIX), and stay.
    is_double = path.startswith("//") and not path.startswith("///")
    return ("//" if is_double else "/") + "/".join(names)


@builtin("cd", "chdir")
def cd(shell: Shell, argv: list[str]) -> Steps:
    """Change the working directory."""
    state, p = shell.state, shell.p
    options, rest = parse_options(shell, argv, "LP")
    if len(rest) > 1 and state.flavour.is_bash:
        raise ShellError("too many arguments", 1)
    target = rest[0] if rest else state.get("HOME")
    says_where = False
    if target == "-":
        target, says_where = state.get("OLDPWD") or "", True
        if not target and state.flavour.is_bash:
            raise ShellError("OLDPWD not set", 1)
        target = target or state.directory
    if not target:
        return 0
    candidates = [target]
    search = state.get("CDPATH")
    if search and not target.startswith(("/", "./", "../")) and target not in (".", ".."):
        slash = "/" if state.flavour.is_bash else ""
        candidates = [
            f"{part.removesuffix(slash)}/{target}" if part else target for part in search.split(":")
        ]
        candidates.append(target)
    error: OSError | None = None
    for candidate in candidates:
        path = _normalize(state.directory, candidate)
        if "P" in options:
            path = candidate if candidate.startswith("/") else f"{p.cwd}/{candidate}"
        try:
            place = p.guest.files.locate(path + "/")
            if place.node is None:
                raise FileNotFoundError(2, "No such file or directory")
        except OSError as failure:
            error = failure
            continue
        state.set("OLDPWD", state.directory, exported=True)
        p.cwd = place.path
        state.directory = place.path if "P" in options else path
        state.set("PWD", state.directory, exported=True)
        if says_where or candidate != target:
            yield from shell.write(f"{state.directory}\n")
        return 0
    reason = error.strerror if error else ""
    target = quote_unprintable(target) if state.flavour.is_bash else target
    raise ShellError(state.words.cannot_change.format(target, reason), state.flavour.error_status)


@builtin("pwd")
def pwd(shell: Shell, argv: list[str]) -> Steps:
    """Show the working directory."""
    options, _ = parse_options(shell, argv, "LP")
    yield from shell.write((shell.p.cwd if "P" in options else shell.state.directory) + "\n")
    return 0
