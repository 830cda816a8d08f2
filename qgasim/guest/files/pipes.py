"""Pipes: bytes on their way between processes."""

from typing import Final

__all__ = ["PIPE_SIZE", "Pipe"]

PIPE_SIZE: Final = 64 * 1024


class Pipe:
    """Bytes between processes: at most 64 KiB wait."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.readers = 0
        self.writers = 0
        # A process that waits at one side of a FIFO is counted by the process that opens the other, so
        # that it finds its peer even if that has gone again.
        self._awaits_reader = self._awaits_writer = False
        self._met_reader = self._met_writer = False

    def meet_reader(self) -> bool:
        """Return whether the side to write to can be opened; if not, its opener waits."""
        if self._met_reader:
            self._met_reader = False
            self.writers -= 1
        elif self._awaits_writer:
            self._awaits_writer, self._met_writer = False, True
            self.readers += 1
        elif not self.readers:
            self._awaits_reader = True
            return False
        return True

    def meet_writer(self) -> bool:
        """Return whether the side to read from can be opened; if not, its opener waits."""
        if self._met_writer:
            self._met_writer = False
            self.readers -= 1
        elif self._awaits_reader:
            self._awaits_reader, self._met_reader = False, True
            self.writers += 1
        elif not self.writers:
            self._awaits_writer = True
            return False
        return True

    def has_met_reader(self) -> bool:
        """Return whether an opener that waits for a reader can go on."""
        return self._met_reader or self.readers > 0

    def has_met_writer(self) -> bool:
        """Return whether an opener that waits for a writer can go on."""
        return self._met_writer or self.writers > 0

    def can_read(self) -> bool:
        """Return whether a read would not wait."""
        return bool(self.data) or not self.writers

    def can_write(self) -> bool:
        """Return whether a write would not wait."""
        return len(self.data) < PIPE_SIZE or not self.readers
