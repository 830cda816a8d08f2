"""What a scenario says about a guest: its keys, their defaults and meaning.

A `Guest` is built from a `GuestSettings`, as often as one likes; nothing here changes afterwards.
The ``#:`` comments become the reference page and the descriptions in the JSON Schema.
"""

from typing import Final, Literal

from msgspec import Struct, field

from qgasim.guest.hardware.devices import Disk, Driver, Memory, Vcpu
from qgasim.guest.hardware.network import Nic
from qgasim.guest.system.accounts import Account, Login
from qgasim.guest.units import SECOND, Duration, Errno, Size, Time

__all__ = [
    "ClockSettings",
    "ExactUse",
    "FileSettings",
    "FreezeError",
    "GuestSettings",
    "MountSettings",
    "OsSettings",
    "PowerSettings",
    "ProgramResult",
    "ProgramSettings",
    "TextPattern",
    "TrimError",
    "errors_of",
]

#: The default build of Windows.
_BUILD: Final = "19045"
_LINUX: Final = "6.1.0-18-amd64"
_LINUX_BUILD: Final = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)"
#: 2025-01-01T00:00:00Z: any fixed time will do, so that runs repeat.
DEFAULT_START: Final = 1_735_689_600_000_000_000


class OsSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """The guest's operating system."""

    #: Which qemu-ga is built for it.
    family: Literal["linux", "freebsd", "windows"] = "linux"
    #: What Windows calls its product, as in ``Windows 10 Pro``.
    product: str = "Windows 10 Pro"
    #: Whether it is a server's Windows.
    is_server: bool = False
    #: Whether Windows can freeze its volumes (VSS).
    has_vss: bool = True
    #: Fields of /etc/os-release (``NAME``, ``VERSION_ID``, ...); null: there is no such file.
    release: dict[str, str] | None = field(default_factory=dict[str, str])
    #: What ``uname -r`` prints; Windows' build number, as in ``"20348"``.
    kernel_release: str = _LINUX
    #: What ``uname -v`` prints; the version of Windows' kernel, as in ``"10.0"``.
    kernel_version: str = _LINUX_BUILD
    #: What ``uname -m`` prints.
    machine: str = "x86_64"
    #: Whose programs are installed, and so how their messages read.
    userland: Literal["busybox", "gnu"] = "gnu"

    def __post_init__(self) -> None:
        """Let Windows have a kernel of its own."""
        if self.family == "windows":
            if self.kernel_release == _LINUX:
                self.kernel_release = _BUILD
            if self.kernel_version == _LINUX_BUILD:
                self.kernel_version = "10.0"


class ClockSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """The guest's clocks."""

    #: Wall-clock time at power-on.
    start: Time = DEFAULT_START
    #: Guest seconds in a second of the host.
    rate: float = 1.0
    #: Seconds that the wall clock gains in a million; negative: loses.
    drift: float = 0.0
    #: What the battery-backed clock shows at power-on; absent: the same as *start*.
    rtc: Time | None = None
    #: Time zone of /etc/localtime, as in ``Europe/Prague``; null: there is no such file.
    zone: str | None = "Etc/UTC"
    #: What Windows calls the time zone now, in its language; absent: its English name.
    zone_name: str | None = None


class FreezeError(Struct, kw_only=True, forbid_unknown_fields=True):
    """The call that fails when a file system is to be frozen."""

    #: Opening its mount point fails so, as in ``EACCES`` where SELinux refuses it.
    open: Errno | None = None
    #: Freezing it fails so.
    freeze: Errno | None = None


class TrimError(Struct, kw_only=True, forbid_unknown_fields=True):
    """The call that fails when a file system is to be trimmed."""

    #: Opening its mount point fails so, as in ``EACCES`` where SELinux refuses it.
    open: Errno | None = None
    #: Trimming it fails so.
    trim: Errno | None = None


def errors_of(failure: int | FreezeError | TrimError) -> tuple[int, int]:
    """Return the errors with which opening fails, and what is to be done then; 0: it does not."""
    if isinstance(failure, int):
        return 0, failure
    done = failure.freeze if isinstance(failure, FreezeError) else failure.trim
    return failure.open or 0, done or 0


class ExactUse(Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a file system is in use, whatever its files take."""

    #: Bytes in use with all files that are there at first.
    exactly: Size


class MountSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    r"""A mounted file system. The first one of a guest is ``/``, or Windows' ``C:\``.

    Two of type ``btrfs`` on one device are subvolumes of one file system, which the first describes.
    """

    #: The device it is on, as in ``/dev/vda1``, or a name as ``tmpfs``.
    device: str
    #: The mount point, as in ``/srv``, ``D:\`` or ``C:\Data\``; empty: a volume of Windows that has
    #: none.
    path: str
    #: The type of the file system.
    type: str = "ext4"
    #: Mount options, as in /proc/mounts.
    options: str = "rw,relatime"
    #: Bytes that users can have in it (guest-get-fsinfo's ``total-bytes``).
    size: Size = 8 << 30
    #: Bytes beyond *size* that only root can have.
    reserved: Size = 0
    #: Bytes in use before any file that the scenario names; ``{exactly: 13GiB}``: with all files that
    #: are there at first.
    used: Size | ExactUse = 0
    #: Bytes in a block.
    block_size: Size = 4096
    #: Show the directory *bind* of another file system here instead.
    bind: str | None = None
    #: The error with which it refuses to be frozen, as in ``EIO``, or the call that fails, too.
    freeze_error: Errno | FreezeError | None = None
    #: The error with which it refuses to be trimmed, as in ``EIO``, or the call that fails, too.
    trim_error: Errno | TrimError | None = None
    #: The GUID in the name that Windows gives the volume; absent: made up.
    volume: str | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes in use, with or without files."""
        return self.used if isinstance(self.used, int) else self.used.exactly

    @property
    def is_use_exact(self) -> bool:
        """Return whether the files of the scenario are among the bytes in use; what is read-only has no more."""
        return not isinstance(self.used, int) or "ro" in self.options.split(",")


class FileSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file, directory, link or pipe of the guest.

    What it is follows from the one of *text*, *base64*, *size*, *symlink*, *entries*, *source* and
    *kind* that is given.
    """

    #: The contents, as text (UTF-8).
    text: str | None = None
    #: The contents, in base64.
    base64: str | None = None
    #: The length, if the contents are *fill* repeated.
    size: Size | None = None
    #: What fills *size*; zeros if not given.
    fill: str | None = None
    #: The same, in base64.
    fill_base64: str | None = None
    #: The target of a symbolic link.
    symlink: str | None = None
    #: A directory's files, by name: a text, or more about it.
    entries: "dict[str, str | FileSettings] | None" = None
    #: A file or directory of the host, read once, when the scenario is loaded; relative to the
    #: scenario's file.
    source: str | None = None
    #: A directory, an empty file, or a named pipe.
    kind: Literal["directory", "file", "fifo"] | None = None
    #: Permission bits in octal, as in ``"0644"``.
    mode: str | None = None
    #: Owner, as in ``alice`` or ``1000:1000``.
    owner: str | None = None
    #: Time of the last change.
    mtime: Time | None = None


class TextPattern(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a text must be like: one of *glob* and *regex*."""

    #: Wildcards: ``*`` is any text, ``?`` any character.
    glob: str | None = None
    #: A regular expression (Python's) for the whole text.
    regex: str | None = None


class ProgramResult(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a program writes, and how it ends."""

    #: What it writes to its standard output, with the guest's own values in place of ``{hostname}``,
    #: ``{ip eth0}`` and others.
    stdout: str = ""
    #: What it writes to its standard error, in the same way.
    stderr: str = ""
    #: Its exit code.
    exit_code: int = 0
    #: The signal that ends it, instead of an exit code.
    signal: int | None = None
    #: How long it runs, in guest time.
    duration: Duration = 0
    #: How often this is the result; absent: in a list once, but its last entry (and a program without a
    #: list) for ever.
    times: int | None = None


class ProgramSettings(ProgramResult, kw_only=True, forbid_unknown_fields=True):
    """What a program does when it is run with certain arguments."""

    #: The program's file, made if it is not there.
    path: str
    #: Which arguments are meant: a pattern for each, a text with wildcards (``*``, ``?``) or ``{regex:
    #: ...}``; or one pattern for all of them, with a space between two; absent: any arguments.
    args: str | list[str | TextPattern] | TextPattern | None = None
    #: What its standard input must be like; it is read to its end then. Absent: it is not read.
    stdin: str | TextPattern | None = None
    #: Several results, used in turn.
    in_turn: list[ProgramResult] = field(default_factory=list[ProgramResult])
    #: The encoding of *stdout* and *stderr*, as in ``cp850`` or ``utf-16-le``.
    encoding: str = "utf-8"


class PowerSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """Booting, sleeping and waking."""

    #: From a reset until the agent answers.
    boot_time: Duration = 2 * SECOND
    #: After how long the hypervisor wakes a suspended guest; absent: never.
    wake_after: Duration | None = None
    #: From a shutdown command to the end of power.
    shutdown_time: Duration = SECOND // 2
    #: What ``systemctl suspend`` takes.
    suspend_time: Duration = 300_000_000
    #: Whether there is swap to suspend to.
    swap: bool = True
    #: How the guest can be suspended: to memory, to disk, to both.
    suspend: list[Literal["ram", "disk", "hybrid"]] = field(
        default_factory=lambda: ["ram", "disk", "hybrid"]
    )


def _root_mount() -> list[MountSettings]:
    return [MountSettings(device="/dev/vda1", path="/")]


class GuestSettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that a scenario can say about the guest."""

    #: The host name; made up if not given.
    hostname: str | None = None
    #: The operating system.
    os: OsSettings = field(default_factory=OsSettings)
    #: The clocks.
    clock: ClockSettings = field(default_factory=ClockSettings)
    #: The logical processors: how many, or a list.
    vcpus: int | list[Vcpu] = 2
    #: The load averages of the last 1, 5 and 15 minutes.
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    #: The memory: its size, or more about it.
    memory: Size | Memory = 0
    #: The disks, in the order in which the kernel found them.
    disks: list[Disk] = field(default_factory=list[Disk])
    #: The file systems, in the order of mounting.
    mounts: list[MountSettings] = field(default_factory=_root_mount)
    #: The network interfaces.
    nics: list[Nic] = field(default_factory=list[Nic])
    #: The devices that Windows has drivers for.
    devices: list[Driver] = field(default_factory=list[Driver])
    #: The accounts, by name.
    users: dict[str, Account] = field(default_factory=dict[str, Account])
    #: The entries of utmp, in order; null: there is no utmp.
    logins: list[Login] | None = field(default_factory=list[Login])
    #: Files by path: a text, or more about it; null removes what was there.
    files: dict[str, str | FileSettings | None] = field(
        default_factory=dict[str, "str | FileSettings | None"]
    )
    #: Programs whose results are given here; the first entry that matches is run. ``include: NAME`` stands
    #: for all entries of a file of programs.
    programs: list[ProgramSettings] = field(default_factory=list[ProgramSettings])
    #: Environment of the agent and of what it runs.
    environment: dict[str, str] = field(default_factory=dict[str, str])
    #: Booting, sleeping and waking.
    power: PowerSettings = field(default_factory=PowerSettings)

    def __post_init__(self) -> None:
        r"""Let Windows have its volume ``C:\``."""
        if self.os.family == "windows" and self.mounts == _root_mount():
            self.mounts = [MountSettings(device="/dev/vda1", path="C:\\", type="NTFS")]
