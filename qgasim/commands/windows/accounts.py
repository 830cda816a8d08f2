"""Commands about the accounts of a Windows guest: passwords and ssh keys."""

from qgasim.agent import Agent
from qgasim.commands.accounts import (
    AuthorizedKeys,
    add_keys,
    check_keys,
    drop_keys,
    list_keys,
    read_keys,
)
from qgasim.commands.windows.messages import NO_PATH, NO_UTF16
from qgasim.errors import CommandError
from qgasim.qapi.registry import WINDOWS, command
from qgasim.wire import base64

__all__: list[str] = []


@command(name="guest-set-user-password", since=(2, 3), platforms=WINDOWS)
def windows_set_user_password(agent: Agent, username: str, password: str, crypted: bool) -> None:
    """Set a password. *password* is base64."""
    if crypted:
        raise CommandError(agent.dialect.crypted_text)
    raw = base64.decode(password).split(b"\0", 1)[0]
    try:
        text = raw.decode()
        username.encode()
    except UnicodeError:
        raise CommandError(agent.dialect.exec_failed_text.format(NO_UTF16)) from None
    name = _find_account(agent, username)
    if name is None:
        raise CommandError("failed to set password: The user name could not be found.")
    agent.guest.passwords[name] = text


def _find_account(agent: Agent, username: str) -> str | None:
    """Find an account: Windows ignores case."""
    wanted = username.casefold()
    return next((n for n in agent.guest.settings.users if n.casefold() == wanted), None)


# -- ssh keys (qga/commands-windows-ssh.c) ---------------------------------------------------------


def _directory(agent: Agent, username: str) -> tuple[str, str]:
    """Return where a user's keys are: administrators share a file."""
    name = _find_account(agent, username)
    if name is None:
        raise CommandError(f"User {username} was not found")
    if agent.guest.settings.users[name].is_admin:
        return "C:\\ProgramData\\ssh", "administrators_authorized_keys"
    return f"C:\\Users\\{username}\\.ssh", "authorized_keys"


def _read(agent: Agent, directory: str, name: str) -> list[str]:
    path = f"{directory}\\{name}"
    return read_keys(agent, path, agent.guest.inner_path(path))


def _write(agent: Agent, directory: str, name: str, keys: list[str]) -> None:
    path = f"{directory}\\{name}"
    text = "\n".join(keys).encode("utf-8", "surrogateescape")
    try:
        agent.guest.files.write(agent.guest.inner_path(path), text)
    except OSError as error:
        reason = f"Failed to create file \u201c{path}\u201d: {error.strerror}"
        raise CommandError(f"failed to write to '{path}': {reason}") from None


@command(
    name="guest-ssh-get-authorized-keys",
    since=(5, 2),
    platforms={"windows": (9, 1)},
    is_conditional=True,
)
def windows_ssh_get_authorized_keys(agent: Agent, username: str) -> AuthorizedKeys:
    """List a user's public keys, the last in the file first; comments are left out."""
    return list_keys(_read(agent, *_directory(agent, username)))


@command(
    name="guest-ssh-add-authorized-keys",
    since=(5, 2),
    platforms={"windows": (9, 1)},
    is_conditional=True,
)
def windows_ssh_add_authorized_keys(
    agent: Agent, username: str, keys: list[str], reset: bool = False
) -> None:
    """Append public keys that are not in the file, or with *reset*, replace it."""
    check_keys(keys)
    directory, name = _directory(agent, username)
    lines: list[str] = []
    files = agent.guest.files
    inner = agent.guest.inner_path(directory)
    if not reset and files.exists(f"{inner}/{name}"):
        lines = _read(agent, directory, name)
    if not files.is_dir(inner):
        try:
            files.mkdir(inner)
        except OSError:
            raise CommandError(f"failed to create directory {directory}: {NO_PATH}") from None
    _write(agent, directory, name, add_keys(lines, keys))


@command(
    name="guest-ssh-remove-authorized-keys",
    since=(5, 2),
    platforms={"windows": (9, 1)},
    is_conditional=True,
)
def windows_ssh_remove_authorized_keys(agent: Agent, username: str, keys: list[str]) -> None:
    """Remove public keys; no file is an error."""
    check_keys(keys)
    directory, name = _directory(agent, username)
    lines = drop_keys(_read(agent, directory, name), keys)
    _write(agent, directory, name, lines)
