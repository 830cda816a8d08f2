"""What must hold of a guest with Windows, and of what only such a guest has."""

import re
from typing import Final

from qgasim.guest.settings import GuestSettings
from qgasim.scenario.checks import Wrong

__all__ = [
    "PCI_ID",
    "VOLUME",
    "WINDOWS_PATH",
    "check_open_errors",
    "check_windows",
]

WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:\\.*", re.DOTALL)
PCI_ID: Final = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}")
VOLUME: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KERNEL: Final = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")


def check_open_errors(guest: GuestSettings) -> Wrong:
    """Check that a call is named only where the agent makes it: on Linux."""
    if guest.os.family == "linux":
        return
    for index, mount in enumerate(guest.mounts):
        for name in ("freeze_error", "trim_error"):
            failure = getattr(mount, name)
            if failure is not None and (name == "trim_error" or not isinstance(failure, int)):
                what = "" if isinstance(failure, int) else " that names a call"
                yield f"mounts[{index}].{name}", f"an error{what} has no effect except on Linux"


def check_windows(guest: GuestSettings) -> Wrong:
    """Check what a guest's settings say of Windows."""
    if guest.os.family != "windows":
        for index, mount in enumerate(guest.mounts):
            # Other paths that are not absolute are no guest's.
            if not mount.path or WINDOWS_PATH.fullmatch(mount.path):
                yield f"mounts[{index}].path", f"expected an absolute path, found '{mount.path}'"
        if guest.devices:
            yield "devices", "has no effect on a guest without Windows"
        return
    system = guest.os
    if not _KERNEL.fullmatch(system.kernel_version):
        text = f"expected Windows' version as in '10.0', found '{system.kernel_version}'"
        yield "os.kernel_version", text
    if not system.kernel_release.isdecimal():
        text = f"expected Windows' build as in '20348', found '{system.kernel_release}'"
        yield "os.kernel_release", text
    for index, mount in enumerate(guest.mounts):
        if mount.path and not WINDOWS_PATH.fullmatch(mount.path):
            text = rf"expected a path of Windows as in 'D:\', found '{mount.path}'"
            yield f"mounts[{index}].path", text
    seen: set[str] = set()
    for index, mount in enumerate(guest.mounts):
        if mount.device in seen and mount.bind is None:
            yield f"mounts[{index}].device", f"there is a volume on '{mount.device}' already"
        seen.add(mount.device)
