"""The state directory: the number of the next file handle, and whether the guest is frozen."""

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from qgasim.agent import FIRST_HANDLE
from qgasim.standin import keyfile
from qgasim.standin.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NoState", "StateDirectory"]

_LIMIT: Final = 1 << 16
#: What g_key_file_get_integer() reads; it gives 0 for all else.
_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]{1,10})\s*")


class NoState(Exception):
    """The state directory cannot be used. It is in the log."""


class StateDirectory:
    """The files ``qga.state`` and ``qga.state.isfrozen`` of qga/main.c."""

    def __init__(self, path: str, log: Log) -> None:
        self._path = f"{path}/qga.state"
        self._marker = f"{path}/qga.state.isfrozen"
        self._log = log

    # -- the marker --------------------------------------------------------------------------------

    def find_frozen(self) -> list[str] | None:
        """Return the mount points that an agent which did not thaw left frozen; None if none did.

        They stand in the marker. The real one is empty: there the file systems know it themselves.
        """
        try:
            with open(self._marker, encoding="utf-8", errors="surrogateescape") as file:
                content = file.read(_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log(
                "critical", f"unable to access state file at path {self._marker}: {error.strerror}"
            )
            # So does qemu-ga: check_is_frozen() returns EXIT_FAILURE, which is true.
            return []
        self._log(
            "warning",
            "previous instance appears to have exited with frozen filesystems. deferring"
            " logging/pidfile creation and disabling non-fsfreeze-safe commands until"
            " guest-fsfreeze-thaw is issued, or filesystems are manually unfrozen and the file"
            f" {self._marker} is removed",
        )
        return content.split("\0")[:-1]

    def mark_frozen(self, paths: "Iterable[str]") -> None:
        """Write the marker, with the mount points that are frozen."""
        try:
            fd = os.open(self._marker, os.O_CREAT | os.O_WRONLY, 0o600)
        except OSError as error:
            self._log("warning", f"unable to open/create file {self._marker}: {error.strerror}")
            self._log(
                "warning", f"unable to create {self._marker}, fsfreeze may not function properly"
            )
            return
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file, suppress(OSError):
            file.truncate()
            file.writelines(f"{path}\0" for path in paths)

    def mark_thawed(self) -> None:
        """Remove the marker."""
        try:
            os.unlink(self._marker)
        except OSError as error:
            self._log("warning", f"unable to delete file: {self._marker}: {error.strerror}")
            self._log(
                "warning", f"unable to delete {self._marker}, fsfreeze may not function properly"
            )

    # -- the counter -------------------------------------------------------------------------------

    def read(self, *, is_frozen: bool) -> int:
        """Return the next handle; begin a state file if there is none, and if that may be.

        Raises:
            NoState: that cannot be.
        """
        path = self._path
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read(_LIMIT)
            value = keyfile.parse(text).get("global", {}).get("fd_counter")
        except FileNotFoundError:
            if is_frozen:
                return FIRST_HANDLE
            return self._begin()
        except (OSError, keyfile.KeyFileError) as error:
            if isinstance(error, OSError):
                said = f"unable to access state file at path {path}: {error.strerror}"
            else:
                said = f"error loading persistent state from path: {path}, {error}"
            self._log("critical", said)
            raise NoState from None
        if value is None:
            return FIRST_HANDLE
        found = _INTEGER.fullmatch(value)
        number = int(found[1]) if found else 0
        return number if -(1 << 31) <= number < 1 << 31 else 0

    def _begin(self) -> int:
        try:
            self.write(FIRST_HANDLE)
        except OSError:
            self._log("critical", f"unable to create state file at path {self._path}")
            raise NoState from None
        return FIRST_HANDLE

    def write(self, handle: int) -> None:
        """Replace the state file, so that it is never half a file.

        Raises:
            OSError: it cannot be written. It is in the log.
        """
        new = f"{self._path}.{os.getpid()}"
        try:
            with open(new, "w", encoding="utf-8") as file:
                file.write(keyfile.dump("global", {"fd_counter": handle}))
            os.replace(new, self._path)
        except OSError as error:
            self._log(
                "critical",
                f"failed to write persistent state to {self._path}:"
                f" Failed to create file “{new}”: {error.strerror}",
            )
            raise
