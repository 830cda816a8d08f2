"""A machine without what runs in it: files, clocks and devices, all made up.

Processes and what they are run by are `Guest`'s, which is a machine with them. So whatever works on
files and devices only takes a `Machine`, and programs see their guest as one.
"""

import errno
import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, TypeVar
from zoneinfo import ZoneInfo

from msgspec import structs

from qgasim.guest.clone import NamedList, clone
from qgasim.guest.files.files import Files
from qgasim.guest.files.nodes import Budget, Volume
from qgasim.guest.files.share import SharedVolume
from qgasim.guest.files.tree import Mount
from qgasim.guest.hardware.devices import CpuTimes, Disk, Memory, Vcpu, mount_source
from qgasim.guest.hardware.network import Nic
from qgasim.guest.records import Kept
from qgasim.guest.settings import GuestSettings, MountSettings, errors_of
from qgasim.guest.system import windows
from qgasim.guest.system.accounts import Login, PasswdEntry, find_entry
from qgasim.guest.system.clock import Clock, host_clock
from qgasim.guest.system.load import Load, count_load
from qgasim.guest.system.power import Power
from qgasim.guest.system.zone import read_zone
from qgasim.guest.units import wrap
from qgasim.states import GuestStates, State

__all__ = ["Machine", "make_vcpus"]

T = TypeVar("T")


class _Guard:
    """A note of whether a change is being guarded; of the host, so it is an object of its own."""

    is_on = False


class Machine(ABC):
    """Files, clocks, devices and accounts of a guest, made from its settings."""

    #: What tests and events change in place: see `guarded`.
    RECORDS: ClassVar[tuple[str, ...]] = (
        "hostname", "has_swap", "vcpus", "memory", "disks", "nics", "logins", "passwords",
    )  # fmt: skip
    #: Set by the guest, which knows what its power runs.
    power: Power

    def __init__(
        self,
        settings: GuestSettings,
        *,
        seed: int = 0,
        source: Callable[[], int] = host_clock,
        shares: Mapping[str, SharedVolume] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.is_windows = settings.os.family == "windows"
        #: What is mounted at boot, in the tree of files.
        self.mounts = windows.inner_mounts(settings.mounts) if self.is_windows else settings.mounts
        self.random = random.Random(seed)
        clock = settings.clock
        self.clock = Clock(clock.start, clock.rate, source, drift=clock.drift, rtc=clock.rtc)
        #: The uptime of the latest boot, in ns. `Clock.uptime` goes on counting since power-on.
        self.booted_at = 0
        #: The wall-clock time of the latest boot, as utmp has it.
        self.boot_wall_time = clock.start
        # Not `random`: its numbers are not to depend on whether the id of a boot is asked for.
        self._boot_random = random.Random(f"boot_id {seed} {settings.hostname}")
        #: The latest boot (/proc/sys/kernel/random/boot_id).
        self.boot_id = self._make_boot_id()
        self.states = GuestStates()
        self.is_busy = False
        self._calls: list[tuple[int, Callable[[], None]]] = []
        #: What is planned from outside, by uptime: it stays if the guest goes back to a snapshot.
        self.planned_outside: list[tuple[int, Callable[[], None]]] = []
        #: Called with the name of an interface that receives something else from now on.
        self.on_filter: Callable[[str], None] = lambda _name: None
        #: What of the host follows it, and keeps its state if the guest goes back to a snapshot.
        self.watchers: list[object] = []
        #: What the contents of its files may take of the host's memory.
        self.budget = Budget()
        #: What its processes may take of it, their captured output included.
        self.memory_budget = Budget(error=errno.ENOMEM)
        self._volumes: dict[str, Volume] = {}
        #: What was mounted first, by device and path.
        self.mounted: dict[tuple[str, str], Mount] = {}
        self.shares = {
            windows.inner_path(path) if self.is_windows else path: volume
            for path, volume in shares.items()
        }
        #: Passwords that were set on Windows, by account.
        self.passwords: dict[str, str] = {}
        self.hostname = settings.hostname or "localhost"
        self.vcpus = make_vcpus(settings.vcpus)
        self.memory = _make_memory(settings.memory)
        self.disks: NamedList[Disk] = NamedList(clone(settings.disks))
        self.nics: NamedList[Nic] = NamedList(clone(settings.nics))
        self.logins: list[Login] = clone(settings.logins or [])
        self.has_swap = settings.power.swap
        #: What its qemu-ga calls itself; the agent says so when it starts.
        self.agent_version = ""
        #: Raises TypeError or ValueError if the records cannot be as they are; what builds the guest
        #: sets it.
        self.check_records: Callable[[Machine], None] | None = None
        self._guard = _Guard()

    @cached_property
    def files(self) -> Files:
        """The files, as they were made at the guest's birth."""
        with self.clock.at_birth():
            root = self._volume(self.mounts[0])
            # `make_files` looks at this, too.
            files = vars(self)["files"] = Files(root, self.clock.now, "rw")
            self.make_files()
        return files

    @property
    def has_files(self) -> bool:
        """Return whether its files were made: at the first look, where that may be late."""
        return "files" in vars(self)

    @property
    def volumes(self) -> dict[str, Volume]:
        """The file systems, by device."""
        _ = self.files
        return self._volumes

    @abstractmethod
    def make_files(self) -> None:
        """Fill the root file system, and mount all others."""

    def _volume(self, mount: MountSettings) -> Volume:
        device = self.mount_source(mount.device)
        volume = Volume(
            device,
            mount.type,
            mount.size,
            reserved=mount.reserved,
            used=0 if mount.is_use_exact else mount.used_bytes,
            block_size=mount.block_size,
            now=self.clock.now(),
            budget=self.budget,
        )
        if mount.freeze_error is not None:
            volume.freeze_open_error, error = errors_of(mount.freeze_error)
            volume.freeze_error = error or volume.freeze_error
        if mount.trim_error is not None:
            volume.trim_open_error, volume.trim_error = errors_of(mount.trim_error)
        self._volumes[device] = volume
        return volume

    def mount_source(self, path: str) -> str:
        """Return what /proc/mounts calls a device that is mounted by *path*."""
        return mount_source(self.settings.disks, path)

    def mount(self, settings: MountSettings) -> None:
        """Mount what *settings* describe, making the mount point."""
        self.files.makedirs(settings.path)
        if settings.bind is not None:
            self.files.bind(settings.bind, settings.path)
            return
        volume = self.volumes.get(self.mount_source(settings.device))
        if settings.type == "btrfs" and volume is not None and volume.kind == "btrfs":
            root = volume.make_subvolume(self.clock.now())
            mount = self.files.mount(volume, settings.path, "rw", root)
        else:
            mount = self.files.mount(self._volume(settings), settings.path, "rw")
        self.mounted[settings.device, settings.path] = mount

    def mount_shares(self) -> None:
        for path, volume in self.shares.items():
            self.files.mount(volume, path)

    def inner_path(self, path: str) -> str:
        """Return the path in the tree of files of a path as the guest's users write it."""
        if not self.is_windows:
            return path
        return windows.find_case(self.files, windows.inner_path(path))

    def thaw(self) -> int:
        """Make all frozen file systems writable; return how many there were."""
        frozen = [volume for volume in self.volumes.values() if volume.is_frozen]
        for volume in frozen:
            volume.is_frozen = False
        self.is_busy = True
        return len(frozen)

    @property
    def state(self) -> State:
        """The state of the guest, by name."""
        return "paused" if self.clock.is_stopped else self.states.now

    # -- time ----------------------------------------------------------------------------------

    def boot_uptime(self) -> int:
        """Return the time since the latest boot, in ns: what /proc/uptime shows.

        The clock's own uptime is that of the scenario: it counts from its start, through reboots.
        """
        return self.clock.uptime() - self.booted_at

    def note_boot(self) -> None:
        """Begin to count what the kernel counts since its boot."""
        self.booted_at = self.clock.uptime()
        self.boot_wall_time = self.clock.now()
        self.boot_id = self._make_boot_id()
        for cpu in self.vcpus:
            cpu.times = CpuTimes()

    def _make_boot_id(self) -> uuid.UUID:
        """Return a random UUID (version 4; drivers/char/random.c, proc_do_uuid())."""
        return uuid.UUID(int=self._boot_random.getrandbits(128), version=4)

    def load(self) -> Load:
        """Return the load averages as the kernel counts them."""
        return count_load(self.settings.load)

    def cpu_times(self, cpu: Vcpu) -> CpuTimes:
        """Return what a processor has done, in ms; it idles, and the kernel counts ticks of 10 ms."""
        idle = self.boot_uptime() // 10_000_000 * 10 if cpu.online else 0
        return structs.replace(cpu.times, idle=wrap(cpu.times.idle + idle))

    def next_call(self) -> int | None:
        """Return when the next function of `call_at` is due."""
        return min((at for at, _ in (*self._calls, *self.planned_outside)), default=None)

    def call_at(self, uptime: int, function: Callable[[], None], *, by_guest: bool = True) -> None:
        """Plan to call *function* when the guest's uptime is *uptime*.

        *by_guest*: the guest itself plans it, so it forgets it if it goes back to a snapshot.
        """
        (self._calls if by_guest else self.planned_outside).append((uptime, function))
        self.is_busy = True

    def forget_call(self, function: Callable[[], None]) -> None:
        """Do not call *function*, which the guest has planned, if it is not yet called."""
        self._calls[:] = [call for call in self._calls if call[1] is not function]

    def outside(self) -> list[object]:
        """Return the parts that stay as they are if the guest goes back to a snapshot.

        Settings and programs do not change, plans from outside and guards belong to the host, and the
        clock goes back in its own way.
        """
        return [self.settings, self.planned_outside, self._guard, self.clock, *self.watchers]

    # -- changing ------------------------------------------------------------------------------

    def guarded(self, function: Callable[[], T]) -> T:
        """Call *function*, which may change records of the guest in any way.

        Raises:
            TypeError: a record has a type now that it cannot have. No change is kept.
            ValueError: a record has a value now that it cannot have. No change is kept.
        """
        if self._guard.is_on or self.check_records is None:
            return function()
        before = Kept(self, self.RECORDS)
        self._guard.is_on = True
        try:
            result = function()
        except BaseException:
            self._check_change(before, is_told=False)
            raise
        finally:
            self._guard.is_on = False
        self._check_change(before, is_told=True)
        return result

    def _check_change(self, before: Kept, *, is_told: bool) -> None:
        if self.check_records is None or not before.is_changed():
            return
        try:
            self.check_records(self)
        except (TypeError, ValueError):
            before.put_back()
            if is_told:
                raise

    # -- looking ------------------------------------------------------------------------------

    def find_account(self, name: str) -> PasswdEntry | None:
        """Find an account in /etc/passwd."""
        try:
            return find_entry(self.files.read_settings("/etc/passwd"), name)
        except OSError:
            return None

    def parse_owner(self, owner: str) -> tuple[int, int]:
        """Read ``user``, ``user:group`` or ``uid:gid``."""
        user, _, group = owner.partition(":")
        account = self.find_account(user)
        uid = account.uid if account else int(user)
        if group:
            named = self.find_account(group)
            return uid, named.gid if named else int(group)
        return uid, account.gid if account else uid

    def find_in_path(self, name: str) -> str | None:
        """Find a program by the PATH that the agent was started with."""
        search = self.settings.environment.get("PATH", "/bin:/usr/bin:.")
        for directory in search.split(":"):
            path = f"{directory}/{name}"
            if self.files.can_execute(path):
                return path
        return None

    def time_zone(self) -> ZoneInfo | None:
        """Return the time zone of /etc/localtime; None for UTC."""
        try:
            return read_zone(self.files.read_settings("/etc/localtime"))
        except OSError:
            return None


def make_vcpus(vcpus: int | list[Vcpu]) -> list[Vcpu]:
    """Return the processors that a scenario says: so many, or a list."""
    if isinstance(vcpus, int):
        return [Vcpu(id=i, can_offline=i > 0) for i in range(vcpus)]
    return clone(vcpus)


def _make_memory(memory: int | Memory) -> Memory:
    return (Memory(size=memory) if isinstance(memory, int) else memory).with_blocks()
