"""The virtual guest: a machine with files, processes, clocks and devices, all made up.

It speaks Python: paths, bytes, exceptions. It knows neither JSON nor sockets nor releases of
qemu-ga, nor what programs there are: they are given to it. It never looks at the host.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from qgasim.errors import KernelError, SettingsError
from qgasim.guest.files.kernel_files import KERNEL_FILES
from qgasim.guest.files.share import SharedVolume
from qgasim.guest.machine import Machine
from qgasim.guest.processes.process import wait_for_ever
from qgasim.guest.processes.scheduler import Processes
from qgasim.guest.processes.userland import NOTHING, Userland
from qgasim.guest.settings import GuestSettings
from qgasim.guest.setup import furnish
from qgasim.guest.system.clock import host_clock
from qgasim.guest.system.power import Power

__all__ = ["Guest", "GuestSettings"]


#: How many things that are planned one look may do; what is left is done late. A timeline can
#: have two events that bring each other about in no time.
CALL_BUDGET: Final = 1000
#: What one counts for while processes have not done what was due, so that all of a look is bounded.
LATE_COST: Final = 200


class Guest(Machine):
    """A virtual machine with what runs in it, built from its settings.

    Things that happen by themselves (processes, power) are worked out when `settle` is called;
    *is_busy* says whether that can change anything.
    """

    def __init__(
        self,
        settings: GuestSettings,
        userland: Userland = NOTHING,
        *,
        seed: int = 0,
        source: Callable[[], int] = host_clock,
        has_late_files: bool = False,
        shares: Mapping[str, SharedVolume] = MappingProxyType({}),
    ) -> None:
        """Make a guest that has just booted.

        *userland*: the programs that can run in it. *has_late_files*: its files are made at
        the first look. They must be known to be right then. *shares*: folders of the host, by
        their mount points.
        """
        super().__init__(settings, seed=seed, source=source, shares=shares)
        self.userland = userland
        self.processes = Processes(self, userland.programs)
        self.power = Power(
            self,
            boot_time=settings.power.boot_time,
            wake_after=settings.power.wake_after,
        )
        #: How much of the host's time (ns) a look may take while others wait; None: what it needs.
        self.look_time: int | None = None
        #: Called when something that was planned raises an exception; None: that is raised.
        self.on_failure: Callable[[Exception], None] | None = None
        #: Called when the guest has booted again.
        self.on_boot: Callable[[], None] = lambda: None
        if not has_late_files:
            _ = self.files
        self._start_init()

    def make_files(self) -> None:
        """Make all files of a new guest.

        Raises:
            SettingsError: they cannot be made as the settings say.
        """
        furnish(self, self.userland, self.processes)
        self._apply_options()
        for path in self.shares:
            self.files.makedirs(path)
        self.mount_shares()
        self.files.is_running = self.processes.is_running
        self.files.on_walk = self.processes.count_walk

    def _apply_options(self) -> None:
        """Mount as the settings say, now that all files are made.

        What is read-only from now on has *used* bytes in use, its files included.

        Raises:
            SettingsError: files take more than the settings say is exactly in use.
        """
        for mount, wanted in zip(
            [m for m in self.files.mounts if m.volume.kind not in KERNEL_FILES],
            self.mounts,
            strict=True,
        ):
            mount.options = wanted.options
            if wanted.bind is not None or mount.root is not mount.volume.root:
                continue
            if wanted.is_use_exact:
                rest = wanted.used_bytes - mount.volume.file_bytes
                if rest < 0 and not isinstance(wanted.used, int):
                    text = (
                        f"expected at least {mount.volume.file_bytes} bytes, which the files take"
                    )
                    raise SettingsError("mounts", f"{text} at {wanted.path}")
                mount.volume.overhead = max(0, rest)

    # -- time ----------------------------------------------------------------------------------

    def look(self) -> None:
        """Do as `settle`, but take no longer of the host's time than `look_time`."""
        if self.look_time is None:
            self.settle()
        else:
            self.settle(host_clock() + self.look_time)

    def settle(self, deadline: int | None = None) -> None:
        """Work out everything that was due until now, in the order of time.

        *deadline*: the host's time (ns) at which what is left is put off.
        """
        if self.power.paused_at is not None and not self.clock.is_stopped:
            self.power.note_end_of_pause()
        now = self.clock.uptime()
        left = CALL_BUDGET
        while left > 0 and not self.clock.is_stopped:
            left -= LATE_COST if self.processes.is_late else 1
            at = self.next_call()
            until = now if at is None else min(at, now)
            if self.power.is_running:
                self.processes.settle(until, deadline)
                if deadline is not None and self.processes.is_late and host_clock() > deadline:
                    break
            # A process may have planned something earlier.
            at = self.next_call()
            if at is None or at > until:
                if until == now:
                    break
                continue
            call = min((*self._calls, *self.planned_outside), key=lambda call: call[0])
            (self._calls if call in self._calls else self.planned_outside).remove(call)
            with self.clock.at(call[0]):
                self._do_planned(call[1])
            # Time that stood still, and goes on already, is not the guest's.
            now = self.clock.uptime()
        is_planned = bool(self._calls or self.planned_outside)
        is_paused = self.power.paused_at is not None
        self.is_busy = is_planned or is_paused or self.processes.is_active

    def _do_planned(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            if self.on_failure is None:
                raise
            self.on_failure(error)

    def next_event(self) -> int | None:
        """Return the uptime at which something next happens by itself; None if nothing does."""
        times = [self.next_call(), self.clock.next_start()]
        if self.power.is_running:
            times.append(self.processes.next_event())
        return min((at for at in times if at is not None), default=None)

    def outside(self) -> list[object]:
        """Return the parts that stay as they are if the guest goes back to a snapshot."""
        return [*super().outside(), self.userland]

    # -- power ---------------------------------------------------------------------------------

    def postpone(self, duration: int) -> None:
        """Move what processes wait for by *duration* ns: the guest was asleep."""
        self.processes.postpone(duration)

    def stop(self) -> None:
        """Let go of everything that needs power."""
        self.processes.clear()

    def boot(self) -> None:
        """Boot again: processes gone, file systems thawed and mounted as at first."""
        for volume in self.volumes.values():
            volume.is_frozen = False
        self._mount_again()
        self.hostname = self.settings.hostname or "localhost"
        self.logins = []
        self.note_boot()
        self._start_init()
        self.on_boot()

    def _mount_again(self) -> None:
        """Mount what is mounted at boot, on what is left of the files.

        A directory to mount on that is missing is made, as systemd does; where none can be, nothing is
        mounted. UNVERIFIED: a real guest may wait for a user at its console then.
        """
        files = self.files
        for mount in reversed(files.mounts[1:]):
            if mount.volume.kind not in KERNEL_FILES:
                files.detach(mount)
        files.mounts[0].options = "rw"
        for settings in self.mounts[1:]:
            with suppress(KernelError):
                files.makedirs(settings.path)
                if settings.bind is not None:
                    files.bind(settings.bind, settings.path).options = settings.options
                else:
                    first = self.mounted[settings.device, settings.path]
                    files.mount(first.volume, settings.path, settings.options, first.root)
        files.mounts[0].options = self.mounts[0].options
        with suppress(KernelError):
            for path in self.shares:
                files.makedirs(path)
            self.mount_shares()

    def _start_init(self) -> None:
        """Start process 1; the ids that follow are those of a machine that has booted."""
        is_busybox = self.settings.os.userland == "busybox"
        path = "/usr/bin/busybox" if is_busybox else "/usr/lib/systemd/systemd"
        self.processes.forget_counts()
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
