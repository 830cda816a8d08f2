"""The virtual guest: a machine with files, processes, clocks and devices, all made up.

It speaks Python: paths, bytes, exceptions. It knows neither JSON nor sockets nor releases of
qemu-ga, and never looks at the host.
"""

import errno
import io
import random
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from qgasim.guest.clone import NamedList, clone
from qgasim.guest.files.files import Files
from qgasim.guest.files.kernel_files import KERNEL_FILES
from qgasim.guest.files.nodes import Budget, Volume
from qgasim.guest.files.share import SharedVolume
from qgasim.guest.hardware.devices import Disk, Memory, Vcpu
from qgasim.guest.hardware.network import Nic
from qgasim.guest.processes.process import Program, wait_for_ever
from qgasim.guest.processes.table import Processes
from qgasim.guest.settings import GuestSettings, MountSettings
from qgasim.guest.setup import furnish
from qgasim.guest.system import windows
from qgasim.guest.system.accounts import Entry, Login, find_entry
from qgasim.guest.system.clock import Clock, host_clock
from qgasim.guest.system.power import Power
from qgasim.userland.programs.images import find_builtin

__all__ = ["Guest", "GuestSettings"]


#: How many things that are planned one look may do; what is left is done late. A timeline can
#: have two events that bring each other about in no time.
CALL_BUDGET: Final = 1000
#: What one counts for while processes have not done what was due, so that all of a look is bounded.
LATE_COST: Final = 200


class Guest:
    """A virtual machine, built from its settings.

    Things that happen by themselves (processes, power) are worked out when `settle` is called;
    *is_busy* says whether that can change anything.
    """

    def __init__(
        self,
        settings: GuestSettings,
        *,
        seed: int = 0,
        source: Callable[[], int] = host_clock,
        has_late_files: bool = False,
        shares: Mapping[str, SharedVolume] = MappingProxyType({}),
    ) -> None:
        """Make a guest that has just booted.

        *has_late_files*: its files are made when somebody first looks. They must be known to be
        right then. *shares*: folders of the host, by their mount points.
        """
        self.settings = settings
        self.is_windows = settings.os.family == "windows"
        #: What is mounted at boot, in the tree of files.
        self.mounts = windows.inner_mounts(settings.mounts) if self.is_windows else settings.mounts
        self.random = random.Random(seed)
        clock = settings.clock
        self.clock = Clock(clock.start, clock.rate, source, drift=clock.drift, rtc=clock.rtc)
        self.is_busy = False
        self._calls: list[tuple[int, Callable[[], None]]] = []
        #: What is planned from outside, by uptime: it stays if the guest goes back to a snapshot.
        self.planned_outside: list[tuple[int, Callable[[], None]]] = []
        #: What the contents of its files may take of the host's memory.
        self.budget = Budget()
        #: What its processes may take of it, their captured output included.
        self.memory_budget = Budget(error=errno.ENOMEM)
        self.volumes: dict[str, Volume] = {}
        self.shares = (
            {windows.inner_path(path): volume for path, volume in shares.items()}
            if self.is_windows
            else shares
        )
        self.processes = Processes(self)
        #: Passwords that were set on Windows, by account.
        self.passwords: dict[str, str] = {}
        self.power = Power(
            self,
            boot_time=settings.power.boot_time,
            wake_after=settings.power.wake_after,
        )
        self.hostname = settings.hostname or "localhost"
        self.vcpus: list[Vcpu] = (
            [Vcpu(id=i, can_offline=i > 0) for i in range(settings.vcpus)]
            if isinstance(settings.vcpus, int)
            else clone(settings.vcpus)
        )
        memory = settings.memory
        self.memory = (Memory(size=memory) if isinstance(memory, int) else memory).with_blocks()
        self.disks: NamedList[Disk] = NamedList(clone(settings.disks))
        self.nics: NamedList[Nic] = NamedList(clone(settings.nics))
        self.logins: list[Login] = clone(settings.logins or [])
        self.has_swap = settings.power.swap
        #: What its qemu-ga calls itself; the agent says so when it starts.
        self.agent_version = ""
        #: Called when the guest has booted again.
        self.on_boot: Callable[[], None] = lambda: None
        if not has_late_files:
            _ = self.files
        self._start_init()

    @cached_property
    def files(self) -> Files:
        """The files, as they were made at the guest's birth."""
        with self.clock.at_birth():
            root = self._volume(self.mounts[0])
            # Those who make the files look at this, too.
            files = self.__dict__["files"] = Files(root, self.clock.now, "rw")
            furnish(self)
            self._apply_options()
            for path in self.shares:
                files.makedirs(path)
            self._mount_shares()
            files.is_running = self.processes.is_running
            files.on_walk = self.processes.count_walk
        return files

    def _apply_options(self) -> None:
        """Mount as the settings say, now that all files are made.

        What is read-only from now on has *used* bytes in use, its files included.
        """
        for mount, wanted in zip(
            [m for m in self.files.mounts if m.volume.kind not in KERNEL_FILES],
            self.mounts,
            strict=True,
        ):
            mount.options = wanted.options
            if mount.is_read_only and wanted.bind is None:
                mount.volume.overhead = max(0, wanted.used - mount.volume.file_bytes)

    def _volume(self, mount: MountSettings) -> Volume:
        volume = Volume(
            mount.device,
            mount.type,
            mount.size,
            reserved=mount.reserved,
            used=0 if "ro" in mount.options.split(",") else mount.used,
            block_size=mount.block_size,
            now=self.clock.now(),
            budget=self.budget,
        )
        if mount.freeze_error is not None:
            volume.freeze_error = mount.freeze_error
        self.volumes[mount.device] = volume
        return volume

    def mount(self, settings: MountSettings) -> None:
        """Mount what *settings* describe, making the mount point."""
        self.files.makedirs(settings.path)
        if settings.bind is not None:
            self.files.bind(settings.bind, settings.path)
        else:
            self.files.mount(self._volume(settings), settings.path, "rw")

    def _mount_shares(self) -> None:
        for path, volume in self.shares.items():
            self.files.mount(volume, path)

    def inner_path(self, path: str) -> str:
        """Give the path in the tree of files of a path as the guest's users write it."""
        if not self.is_windows:
            return path
        return windows.find_case(self.files, windows.inner_path(path))

    def thaw(self) -> int:
        """Let all file systems be written again; tell how many could not be."""
        frozen = [volume for volume in self.volumes.values() if volume.is_frozen]
        for volume in frozen:
            volume.is_frozen = False
        self.is_busy = True
        return len(frozen)

    def find_program(self, head: bytes, argv: list[str]) -> Program | None:
        """Find what an executable file that begins with *head* runs."""
        return find_builtin(self, head, argv)

    # -- time ----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything happen that was due until now, in the order of time."""
        now = self.clock.uptime()
        left = CALL_BUDGET
        while left > 0 and not self.clock.is_stopped:
            left -= LATE_COST if self.processes.is_late else 1
            at = self.next_call()
            until = now if at is None else min(at, now)
            if self.power.is_running:
                self.processes.settle(until)
            # A process may have planned something earlier.
            at = self.next_call()
            if at is None or at > until:
                if until == now:
                    break
                continue
            call = min((*self._calls, *self.planned_outside), key=lambda call: call[0])
            (self._calls if call in self._calls else self.planned_outside).remove(call)
            with self.clock.at(call[0]):
                call[1]()
            # Time that stood still, and goes on already, is not the guest's.
            now = self.clock.uptime()
        self.is_busy = bool(self._calls or self.planned_outside) or self.processes.is_active

    def next_call(self) -> int | None:
        """Give when the next function of `call_at` is due."""
        return min((at for at, _ in (*self._calls, *self.planned_outside)), default=None)

    def call_at(self, uptime: int, function: Callable[[], None], *, by_guest: bool = True) -> None:
        """Have *function* called when the guest's uptime is *uptime*.

        *by_guest*: the guest itself plans it, so it forgets it if it goes back to a snapshot.
        """
        (self._calls if by_guest else self.planned_outside).append((uptime, function))
        self.is_busy = True

    def next_event(self) -> int | None:
        """Give the uptime at which something next happens by itself; None if nothing does."""
        times = [self.next_call(), self.clock.next_start()]
        if self.power.is_running:
            times.append(self.processes.next_event())
        return min((at for at in times if at is not None), default=None)

    # -- looking ------------------------------------------------------------------------------

    def find_account(self, name: str) -> Entry | None:
        """Find an account in /etc/passwd."""
        try:
            return find_entry(self.files.read("/etc/passwd"), name)
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
        """Give the time zone of /etc/localtime; None for UTC."""
        try:
            return ZoneInfo.from_file(io.BytesIO(self.files.read("/etc/localtime")))
        except (OSError, ValueError):
            return None

    # -- power ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let go of everything that needs power."""
        self.processes.clear()

    def boot(self) -> None:
        """Come up again: processes gone, file systems thawed and mounted as at first."""
        for volume in self.volumes.values():
            volume.is_frozen = False
        for mount in reversed(self.files.mounts[1:]):
            if mount.volume.kind not in KERNEL_FILES:
                self.files.unmount(mount)
        for settings in self.mounts[1:]:
            volume = self.volumes[settings.device]
            if settings.bind is not None:
                self.files.bind(settings.bind, settings.path)
            else:
                self.files.mount(volume, settings.path, settings.options)
        self._mount_shares()
        self.hostname = self.settings.hostname or "localhost"
        self.logins = []
        self._start_init()
        self.on_boot()

    def _start_init(self) -> None:
        """Have process 1, and let the next ids be as after a boot."""
        is_busybox = self.settings.os.userland == "busybox"
        path = "/usr/bin/busybox" if is_busybox else "/usr/lib/systemd/systemd"
        self.processes.last_pid = 0
        self.processes.start(
            wait_for_ever,
            argv=["init" if is_busybox else "/sbin/init"],
            env=[],
            cwd="/",
            files={},
            parent=0,
            path=path,
        )
        self.processes.last_pid = 200 + self.random.randrange(100)
