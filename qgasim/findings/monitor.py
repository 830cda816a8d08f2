"""Findings about the monitor of the machine (QMP)."""

from collections.abc import Iterator
from typing import Final

from qgasim.findings.evidence import IMPATIENCE, Evidence
from qgasim.findings.kinds import finding
from qgasim.simulation.journal import Exchange, MonitorExchange, Note

__all__: list[str] = []

#: How often a client may look whether a halted guest is off.
LOOKS: Final = 3


def _refused(evidence: Evidence, text: str) -> Iterator[MonitorExchange]:
    """Yield the requests to a monitor that were refused by an error that begins with *text*."""
    for entry in evidence.journal.entries:
        if isinstance(entry, MonitorExchange) and (entry.error or "").startswith(text):
            yield entry


@finding(remedy="Read the greeting, send qmp_capabilities, and wait for its reply before all else.")
def monitor_not_negotiated(evidence: Evidence) -> Iterator[str]:
    """A client asked the monitor for something before it had negotiated.

    Each connection begins anew: until qmp_capabilities every other command is refused, and no event is
    sent, nor kept for later.
    """
    for exchange in _refused(evidence, "Expecting capabilities negotiation"):
        yield str(exchange)


@finding(
    remedy="After guest-suspend-ram wait for the event SUSPEND, or for query-status to say "
    "suspended, before you wake the machine."
)
def suspend_believed(evidence: Evidence) -> Iterator[str]:
    """A client woke a guest that it had asked to suspend, and that was not yet asleep.

    The agent does not answer that it has done so, and the guest takes its time. A wake-up that comes
    before the event SUSPEND is refused, and then the guest sleeps for good.
    """
    asked: Exchange | None = None
    for entry in evidence.journal.entries:
        if isinstance(entry, Note):
            if entry.kind == "qmp" and entry.text.startswith("SUSPEND"):
                asked = None
        elif not isinstance(entry, MonitorExchange):
            if (entry.command or "").startswith("guest-suspend-") and entry.error is None:
                asked = entry
        elif entry.command == "qmp:system_wakeup" and entry.error is not None and asked is not None:
            yield f"{entry}\n  after {asked}"


@finding(
    remedy="Where QEMU runs with -no-shutdown, as libvirt starts it, send system_reset before cont; "
    "or quit, if the machine is to be gone."
)
def shutdown_taken_for_the_end(evidence: Evidence) -> Iterator[str]:
    """A client let a machine go on that was shut down, and that stays so until it is reset.

    After SHUTDOWN a machine is gone only if QEMU ends: with -no-shutdown it stays, in state
    *shutdown*.
    """
    for exchange in _refused(evidence, "Resetting the Virtual Machine is required"):
        yield str(exchange)


@finding(
    remedy="After guest-shutdown with mode halt wait for VSERPORT_CHANGE to tell that the port is closed, "
    "then send quit or system_reset: nothing else will come."
)
def halt_awaited_as_shutdown(evidence: Evidence) -> Iterator[str]:
    """A client went on asking whether a guest was off that it had only halted.

    A halt stops the guest's processors, and leaves the machine on: QEMU sends no SHUTDOWN, and
    query-status says *running* for ever. Looked for are three or more looks at the state after the
    port was closed.
    """
    halted: Exchange | None = None
    is_closed, looks = False, list[MonitorExchange]()
    for entry in (*evidence.journal.entries, None):
        if isinstance(entry, MonitorExchange):
            if entry.command == "qmp:query-status" and is_closed:
                looks.append(entry)
        elif isinstance(entry, Exchange):
            if entry.command == "guest-shutdown" and entry.arguments.get("mode") == "halt":
                halted, is_closed = entry, False
        elif entry is None or (
            entry.kind == "qmp" and entry.text.startswith(("RESET", "SHUTDOWN"))
        ):
            if halted is not None and len(looks) >= LOOKS:
                yield f"{looks[0]}\n  {len(looks)} times after {halted}"
            halted, is_closed, looks = None, False, []
        elif (
            halted is not None and entry.kind == "qmp" and entry.text.startswith("VSERPORT_CHANGE")
        ):
            is_closed = True


@finding(
    remedy="After a reboot wait until the agent answers guest-sync-delimited, or for VSERPORT_CHANGE to tell "
    "that its port is open; then ask for the next."
)
def reset_counted_as_reboot(evidence: Evidence) -> Iterator[str]:
    """A client asked for the next reboot when it saw RESET, while the guest was still down.

    RESET says that the machine was reset, not that the guest has booted; and firmware may reset it several
    times more in one reboot, each with a RESET. The request waits until the guest is back, so a client that
    goes by RESET counts reboots that have not happened. Looked for is a `guest-shutdown` with mode *reboot*
    within 100 ms of a RESET and before the guest is up, if a client of a monitor has negotiated.
    """
    resets: list[int] = []
    down: list[tuple[list[int], int]] = []
    has_client = False
    for entry in evidence.journal.entries:
        if isinstance(entry, MonitorExchange):
            has_client |= entry.command == "qmp:qmp_capabilities" and entry.error is None
        elif isinstance(entry, Note) and entry.kind == "qmp" and has_client:
            if entry.text.startswith("RESET"):
                resets.append(entry.at)
        elif isinstance(entry, Note) and entry.kind == "state" and entry.text.endswith("→ up"):
            down.append((resets, entry.at))
            resets = []
    down.append((resets, evidence.journal.simulation.guest.clock.uptime() + 1))
    for request in evidence.requests:
        if request.command == "guest-shutdown" and request.arguments.get("mode") == "reboot":
            for times, up in down:
                if request.sent < up and any(0 <= request.sent - t < IMPATIENCE for t in times):
                    yield str(request)


@finding(
    remedy="After device_del wait for DEVICE_DELETED with the device's id: the guest lets go when it "
    "likes, and DEVICE_UNPLUG_GUEST_ERROR says that it will not."
)
def unplug_believed(evidence: Evidence) -> Iterator[str]:
    """A client used the id of a device again that the guest had not yet let go.

    The reply to device_del says only that the guest was asked.
    """
    for exchange in _refused(evidence, "Duplicate device ID"):
        yield str(exchange)


@finding(remedy="Give the scenario what the client needs, or ask for what docs/qmp.md lists.")
def monitor_command_not_simulated(evidence: Evidence) -> Iterator[str]:
    """A client asked the monitor for what QEMU has, and qgasim does not simulate.

    The error that it got says so; a real QEMU would have answered.
    """
    for exchange in _refused(evidence, "qgasim does not simulate"):
        yield str(exchange)
