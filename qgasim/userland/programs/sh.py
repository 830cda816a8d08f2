"""The shell, under all names that scripts call it by."""

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.registry import program
from qgasim.userland.shell import run_shell

__all__: list[str] = []


@program("sh", "bash")
def sh(p: Process) -> Steps:
    """Run commands: see `qgasim.userland.shell`."""
    return (yield from run_shell(p))
