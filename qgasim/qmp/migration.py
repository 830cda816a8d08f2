"""Migration: out of this machine, and into it. Nothing is transferred.

The guest that comes is the one that the scenario describes, with its agent. The phases take times like
those that were recorded.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from msgspec import Struct

from qgasim.errors import CommandError, ListenError
from qgasim.guest import Guest
from qgasim.guest.units import SECOND
from qgasim.qmp.devices import Devices
from qgasim.qmp.release import Release, turn_round
from qgasim.qmp.settings import MachineSettings

__all__ = ["Migrating", "Migration"]

#: How long the phases take (recorded with 512 MiB: 0.7 s in all).
ACTIVE_AFTER: Final = SECOND // 10
STOP_AFTER: Final = SECOND * 7 // 10
ARRIVES_AFTER: Final = SECOND // 10
CANCELLED_AFTER: Final = SECOND // 100
#: The ways on which a machine can move (7.2's; ``file:`` since 8.2).
PROTOCOLS: Final = ("tcp:", "unix:", "vsock:", "exec:", "fd:", "rdma:", "file:")
PAGE: Final = 4096
#: What query-migrate-parameters says at first, of those that a release has: as QEMU 7.2.22 does, and in this
#: order. UNVERIFIED: what came later (migration/options.c of 10.0).
PARAMETERS: Final[dict[str, Any]] = {
    "cpu-throttle-tailslow": False,
    "xbzrle-cache-size": 67108864,
    "cpu-throttle-initial": 20,
    "announce-max": 550,
    "decompress-threads": 2,
    "compress-threads": 8,
    "compress-level": 1,
    "multifd-channels": 2,
    "multifd-zstd-level": 1,
    "announce-initial": 50,
    "block-incremental": False,
    "compress-wait-thread": True,
    "downtime-limit": 300,
    "tls-authz": "",
    "multifd-compression": "none",
    "announce-rounds": 5,
    "announce-step": 100,
    "tls-creds": "",
    "multifd-zlib-level": 1,
    "max-cpu-throttle": 99,
    "max-postcopy-bandwidth": 0,
    "tls-hostname": "",
    "throttle-trigger-threshold": 50,
    "max-bandwidth": 134217728,
    "x-checkpoint-delay": 20000,
    "cpu-throttle-increment": 10,
    "avail-switchover-bandwidth": 0,
    "x-vcpu-dirty-limit-period": 1000,
    "vcpu-dirty-limit": 1,
    "mode": "normal",
    "zero-page-detection": "multifd",
    "direct-io": False,
    "multifd-qatzip-level": 1,
}


class Migrating(Protocol):
    """What moves: a hypervisor, as far as a migration has to do with it."""

    guest: Guest
    release: Release
    settings: MachineSettings
    devices: Devices
    after_reply: list[Callable[[], None]]

    @property
    def status(self) -> str:
        """The machine's state."""
        ...

    def emit(self, name: str, data: dict[str, Any] | None = None) -> None:
        """Send an event."""
        ...

    def call_later(self, delay: int, function: Callable[[], None]) -> None:
        """Call *function* when *delay* ns of the host have passed."""
        ...

    def stop_migrated(self) -> None:
        """Stop: it has moved elsewhere."""
        ...

    def arrive(self, *, is_paused: bool) -> None:
        """Become the machine that has come from another host."""
        ...


class Migration:
    """The migration of a machine, if there is one."""

    def __init__(self, hypervisor: Migrating) -> None:
        self._hypervisor = hypervisor
        #: The capabilities that are switched on.
        self.capabilities: set[str] = set()
        #: The parameters, by name.
        known = hypervisor.release.results_of("query-migrate-parameters")
        self.parameters: dict[str, Any] = turn_round(
            {name: value for name, value in PARAMETERS.items() if name in known}
        )
        #: How far it is; None: there was none.
        self.status: str | None = None
        #: Whether a machine that comes in is to stand still.
        self.starts_paused = False
        #: Listens where a machine is to come from, and calls `come` when it does; returns False for what it
        #: cannot listen on, where the machine then comes by itself. ListenError: the address is taken.
        self.listen: Callable[[str], bool] = lambda _uri: False
        self._began = 0
        #: Where the machine comes from.
        self._source = ""

    def _enter(self, status: str, *, always: bool = False) -> None:
        self.status = status
        if always or "events" in self.capabilities:
            self._hypervisor.emit("MIGRATION", {"status": status})

    def _tell_pass(self, number: int) -> None:
        if "events" in self.capabilities:
            self._hypervisor.emit("MIGRATION_PASS", {"pass": number})

    # -- out -------------------------------------------------------------------------------------

    @property
    def is_under_way(self) -> bool:
        """Return whether the machine is moving elsewhere."""
        return self.status in ("setup", "active", "cancelling")

    def check_idle(self) -> None:
        """Refuse what cannot be done while the machine is moving elsewhere.

        Raises:
            CommandError: it is.
        """
        if self.is_under_way:
            raise CommandError("There's a migration process in progress")

    def start(self, uri: str | None) -> None:
        """Begin to move the machine elsewhere.

        Raises:
            CommandError: it is moving, has moved, or has not yet come; or the *uri* is of no kind that there is.
        """
        hypervisor = self._hypervisor
        if hypervisor.status == "inmigrate":
            raise CommandError("Guest is waiting for an incoming migration")
        self.check_idle()
        if hypervisor.status == "postmigrate":
            text = "Can't migrate the vm that was paused due to previous migration"
            raise CommandError(text)
        is_known = uri is None or uri.startswith(PROTOCOLS)
        if not is_known and hypervisor.release.reads_uri_first:
            raise CommandError(f"unknown migration protocol: {uri}")
        self._began = hypervisor.guest.clock.host_time()
        self._enter("setup")
        if not is_known:
            self._enter("failed")
            raise CommandError("Parameter 'uri' expects a valid migration protocol")
        hypervisor.call_later(ACTIVE_AFTER, self._activate)

    def _activate(self) -> None:
        if self.status == "setup":
            self._tell_pass(1)
            self._enter("active")
            self._hypervisor.call_later(STOP_AFTER - ACTIVE_AFTER, self._complete)

    def _complete(self) -> None:
        if self.status != "active":
            return
        hypervisor = self._hypervisor
        self._tell_pass(2)
        hypervisor.stop_migrated()
        if hypervisor.release.tells_device_phase:
            self._enter("device")
        self._tell_pass(3)
        self._enter("completed")

    def cancel(self) -> None:
        """Cancel it; nothing if there is none."""
        if self.status in ("setup", "active"):
            self._enter("cancelling")
            self._hypervisor.call_later(CANCELLED_AFTER, lambda: self._enter("cancelled"))

    # -- in --------------------------------------------------------------------------------------

    def receive(self, uri: str | None = None) -> None:
        """Let the machine come from another host.

        *uri*: from where; what is sent there is not looked at.

        Raises:
            CommandError: QEMU was not started for that, or the machine has come.
        """
        hypervisor = self._hypervisor
        if hypervisor.settings.start != "incoming":
            raise CommandError("'-incoming' was not specified on the command line")
        if hypervisor.status != "inmigrate" or self.status is not None:
            raise CommandError("The incoming migration has already been started")
        if uri is not None and not uri.startswith(PROTOCOLS):
            if hypervisor.release.tells_setup_always:
                hypervisor.emit("MIGRATION", {"status": "setup"})
            raise CommandError(f"unknown migration protocol: {uri}")
        try:
            is_awaited = self.listen(uri or "")
        except ListenError as error:
            raise CommandError(str(error)) from None
        self._source = uri or ""
        self._enter("setup", always=hypervisor.release.tells_setup_always)
        if is_awaited:
            return
        hypervisor.after_reply.append(lambda: self._enter("active"))
        hypervisor.call_later(ARRIVES_AFTER, self._arrive)

    def come(self) -> None:
        """Take the machine that another host begins to send."""
        if self.status == "setup":
            self._enter("active")
            self._hypervisor.call_later(ARRIVES_AFTER, self._arrive)

    def _arrive(self) -> None:
        self._enter("completed")
        self._hypervisor.arrive(is_paused=self.starts_paused)

    # -- looking ---------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return what query-migrate returns. How much was moved is made up."""
        if self.status is None:
            return {}
        hypervisor = self._hypervisor
        if self.status == "setup" and hypervisor.settings.start == "incoming":
            # Nothing has come.
            waits = {} if hypervisor.release.tells_setup_always else {"status": "setup"}
            path = self._source.removeprefix("unix:")
            address = [{"path": path, "type": "unix"}] if path != self._source else []
            return {**waits, **({"socket-address": address} if address else {})}
        if (
            self.status in ("setup", "cancelled", "cancelling", "failed")
            or hypervisor.settings.start == "incoming"
        ):
            return {"status": self.status}
        total = hypervisor.devices.base_memory
        passed = (hypervisor.guest.clock.host_time() - self._began) // 1_000_000
        is_done = self.status == "completed"
        times = (
            {"downtime": 25, "total-time": STOP_AFTER // 1_000_000}
            if is_done
            else {"expected-downtime": 300, "total-time": passed}
        )
        remaining = 0 if is_done else total * max(0, STOP_AFTER // 1_000_000 - passed) // 700
        return {
            "status": self.status,
            **times,
            "setup-time": 1,
            "ram": _Ram(total=total, remaining=remaining, is_done=is_done).write(),
        }


class _Ram(Struct):
    """How much memory was moved."""

    total: int
    remaining: int
    is_done: bool

    def write(self) -> dict[str, Any]:
        """Return QAPI ``MigrationStats`` as QEMU 7.2 has it."""
        moved = self.total - self.remaining
        return {
            "transferred": moved,
            "remaining": self.remaining,
            "total": self.total,
            "duplicate": 0,
            "skipped": 0,
            "normal": moved // PAGE,
            "normal-bytes": moved // PAGE * PAGE,
            "dirty-pages-rate": 0,
            "mbps": 0.0,
            "dirty-sync-count": 3 if self.is_done else 1,
            "postcopy-requests": 0,
            "page-size": PAGE,
            "multifd-bytes": 0,
            "pages-per-second": 0,
            "precopy-bytes": 0,
            "downtime-bytes": 0,
            "postcopy-bytes": 0,
            "dirty-sync-missed-zero-copy": 0,
        }
