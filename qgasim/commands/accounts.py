"""Commands about accounts: passwords and ssh keys."""

from typing import Annotated

from msgspec import Struct

from qgasim.agent import Agent
from qgasim.commands.running import run_helper
from qgasim.errors import CommandError
from qgasim.guest.system.accounts import PasswdEntry
from qgasim.qapi.annotations import Exact
from qgasim.qapi.registry import POSIX, command
from qgasim.wire import base64

__all__ = ["AuthorizedKeys", "add_keys", "check_keys", "drop_keys", "list_keys", "read_keys"]


@command(since=(2, 3), platforms={"linux": (0, 0), "freebsd": (7, 2)})
def guest_set_user_password(agent: Agent, username: str, password: str, crypted: bool) -> None:
    """Set a password by the guest's chpasswd. *password* is base64."""
    # A C string: the rest after a NUL is not seen.
    raw = base64.decode(password).split(b"\0", 1)[0]
    if b"\n" in raw:
        raise CommandError("forbidden characters in raw password")
    if "\n" in username or ":" in username:
        raise CommandError("forbidden characters in username")
    path = agent.guest.find_in_path("chpasswd")
    if path is None and not agent.dialect.tells_helper_output:
        # It looks for "chpasswd", and says "passwd".
        raise CommandError("cannot find 'passwd' program in PATH")
    line = username.encode("utf-8", "surrogateescape") + b":" + raw + b"\n"
    run_helper(
        agent,
        "set user password",
        path or "chpasswd",
        ["chpasswd", "-e"] if crypted else ["chpasswd"],
        failed="child process has failed to set user password",
        stdin=line,
    )


# -- ssh keys (qga/commands-posix-ssh.c) -----------------------------------------------------------


class AuthorizedKeys(Struct, frozen=True):
    """QAPI ``GuestAuthorizedKeys``."""

    keys: Annotated[list[str], Exact()]


def check_keys(keys: list[str]) -> None:
    """Refuse what is no line of a file of keys."""
    for key in keys:
        if key.startswith("#") or "\n" in key:
            raise CommandError(f"invalid OpenSSH public key: '{key}'")


def _account(agent: Agent, username: str) -> PasswdEntry:
    account = agent.guest.find_account(username)
    if account is None:
        # getpwnam() leaves errno 0 when there is no such user.
        raise CommandError(f"failed to lookup user '{username}': Success")
    return account


def _path(account: PasswdEntry) -> str:
    return f"{account.home.rstrip('/')}/.ssh/authorized_keys"


def read_keys(agent: Agent, path: str, inner: str) -> list[str]:
    """Return the lines of a file of keys; *inner* is its path in the tree of files."""
    try:
        text = agent.guest.files.read_settings(inner).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise CommandError(
            f"failed to read '{path}': Failed to open file \u201c{path}\u201d: {error.strerror}"
        ) from None
    return text.split("\n") if text else []


def _write(agent: Agent, path: str, keys: list[str], account: PasswdEntry) -> None:
    files = agent.guest.files
    try:
        files.write(path, "\n".join(keys).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise CommandError(
            f"failed to write to '{path}': Failed to create file \u201c{path}\u201d: {error.strerror}"
        ) from None
    files.chown(path, account.uid, account.gid)
    files.chmod(path, 0o600)


@command(since=(5, 2), platforms=POSIX, is_conditional=True)
def guest_ssh_get_authorized_keys(agent: Agent, username: str) -> AuthorizedKeys:
    """List a user's public keys, the last in the file first; comments are left out."""
    path = _path(_account(agent, username))
    return list_keys(read_keys(agent, path, path))


def list_keys(lines: list[str]) -> AuthorizedKeys:
    """Return the keys of a file."""
    keys = [line.strip(" \t\n\v\f\r") for line in lines]
    return AuthorizedKeys([key for key in reversed(keys) if key and not key.startswith("#")])


@command(since=(5, 2), platforms=POSIX, is_conditional=True)
def guest_ssh_add_authorized_keys(
    agent: Agent, username: str, keys: list[str], reset: bool = False
) -> None:
    """Append public keys that are not in the file, or with *reset*, replace it."""
    check_keys(keys)
    account = _account(agent, username)
    files = agent.guest.files
    path = _path(account)
    lines: list[str] | None = None
    if not reset and files.exists(path):
        lines = read_keys(agent, path, path)
    if lines is None:
        directory = path.rsplit("/", 1)[0]
        if not files.is_dir(directory):
            try:
                files.mkdir(directory, 0o700)
            except OSError as error:
                raise CommandError(
                    f"failed to create directory '{directory}': {error.strerror}"
                ) from None
            files.chown(directory, account.uid, account.gid)
        lines = []
    _write(agent, path, add_keys(lines, keys), account)


def add_keys(lines: list[str], keys: list[str]) -> list[str]:
    """Return the lines of a file, and those of *keys* that are not among them."""
    known = set(lines)
    return [*lines, *(key for key in dict.fromkeys(keys) if key not in known)]


def drop_keys(lines: list[str], keys: list[str]) -> list[str]:
    """Return the lines of a file without *keys*."""
    dropped = set(keys)
    return [line for line in lines if line not in dropped]


@command(since=(5, 2), platforms=POSIX, is_conditional=True)
def guest_ssh_remove_authorized_keys(agent: Agent, username: str, keys: list[str]) -> None:
    """Remove public keys; no file is no error."""
    check_keys(keys)
    account = _account(agent, username)
    path = _path(account)
    if not agent.guest.files.exists(path):
        return
    lines = read_keys(agent, path, path)
    _write(agent, path, drop_keys(lines, keys), account)
