"""The shell, under all names that scripts call it by."""

from qgasim.guest.process import Process, Steps
from qgasim.guest.programs.registry import program
from qgasim.guest.shell import run_shell

__all__: list[str] = []


@program("sh", "ash", "bash", "dash")
def sh(p: Process) -> Steps:
    """Run commands: see `qgasim.guest.shell`."""
    return (yield from run_shell(p))
