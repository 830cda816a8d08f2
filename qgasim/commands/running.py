"""Programs of the guest that a command runs and waits for (qga/commands-posix.c, ga_run_command())."""

from qgasim.agent import Agent
from qgasim.errors import CommandError
from qgasim.guest.files.nodes import decode_name

__all__ = ["run_helper"]


def run_helper(
    agent: Agent, action: str, path: str, argv: list[str], *, failed: str, stdin: bytes = b""
) -> None:
    """Run a program of the guest that has to succeed.

    *failed* is the wording of a failure in releases that do not tell what the program wrote;
    the others say that it failed to do *action*, and why.

    Raises:
        CommandError: it did not succeed.
    """
    ended, output = agent.run(path, argv, stdin)
    # A C string.
    wrote = decode_name(output.partition(b"\0")[0]) if agent.dialect.tells_helper_output else ""
    if ended.signal is not None:
        text = "child process has terminated abnormally"
    elif not ended.code:
        return
    elif not agent.dialect.tells_helper_output:
        raise CommandError(failed)
    else:
        text = f"child process has failed to {action}"
        wrote = wrote or f"exit status {ended.code}"
    raise CommandError(f"{text}: {wrote}" if wrote else text)
