"""What qemu-ga logs of its channel: channel_event_cb() and run_agent() of qga/main.c of 7.2."""

from typing import Final

from qgasim.standin.log import Log

__all__ = ["READ_SIZE", "ChannelLog", "log_data", "log_no_channel"]

#: What qemu-ga reads at a time (QGA_READ_COUNT_DEFAULT).
READ_SIZE: Final = 4096


class ChannelLog:
    """Logs what is read from the clients of a socket: the watcher of a `Server`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def received(self, data: bytes) -> None:
        """Log what a client sent; empty: it stopped sending."""
        if data:
            log_data(self._log, data)
        else:
            self._log("debug", "received EOF")

    def failed(self) -> None:
        """Log that the channel is broken."""
        self._log("warning", "error reading channel")


def log_data(log: Log, data: bytes) -> None:
    """Log what was read as qemu-ga does: at most 4096 bytes at a time, each up to the first NUL."""
    for start in range(0, len(data), READ_SIZE):
        piece = data[start : start + READ_SIZE]
        shown = piece.partition(b"\0")[0].decode(errors="surrogateescape")
        log("debug", f"read data, count: {len(piece)}, data: {shown}")


def log_no_channel(log: Log, *why: str) -> None:
    """Log that the channel cannot be opened."""
    for text in (*why, "failed to initialize guest agent channel"):
        log("critical", text)
