"""What an agent keeps for its clients, by number: open files, and programs that it started."""

from msgspec import Struct

from qgasim.guest.files.open_files import Sink
from qgasim.guest.files.stdio import Stream
from qgasim.guest.processes.process import Process

__all__ = ["Execution", "FileHandle"]


class FileHandle(Struct):
    """An open file of guest-file-open."""

    stream: Stream
    #: What was done last ("" after a seek or flush): qemu-ga keeps C's rule that a flush or seek
    #: must stand between reading and writing.
    last: str = ""


class Execution:
    """A program started by guest-exec, until its end was reported."""

    def __init__(self, process: Process, out: Sink | None, err: Sink | None) -> None:
        self.process = process
        self.out = out
        self.err = err
        #: Whether the agent waits for the end of a stream that it never opened.
        self.is_stuck = False
        # The agent's child: it stays a zombie until the agent looks.
        process.on_exit = lambda _: None

    @property
    def is_finished(self) -> bool:
        """Return whether it has ended and no process holds an end of its pipes any more."""
        return (
            self.process.exit is not None
            and not self.is_stuck
            and all(sink is None or sink.is_closed for sink in (self.out, self.err))
        )

    def forget(self) -> None:
        """Let go of what it wrote, and of the process if that has ended."""
        for sink in (self.out, self.err):
            if sink is not None:
                sink.forget()
        if self.process.exit is not None:
            self.process.processes.reap(self.process)

    def abandon(self) -> None:
        """Leave it to itself: the agent that started it is gone."""
        self.process.on_exit = None
        for sink in (self.out, self.err):
            if sink is not None:
                sink.is_closed = True
        self.forget()
