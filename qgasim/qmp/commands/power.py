"""Commands about the conversation and about power: stop, cont, reset, wake, quit."""

from typing import Any, Literal

from qgasim.errors import CommandError
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command

__all__: list[str] = []


@command("qmp_capabilities")
def qmp_capabilities(monitor: Monitor, enable: list[Literal["oob"]] | None = None) -> None:
    """Begin: before it, no other command is served and no event is sent."""
    monitor.negotiate(oob="oob" in (enable or []))


@command()
def query_status(monitor: Monitor) -> Any:
    """Return the machine's state."""
    hypervisor = monitor.hypervisor
    status: dict[str, Any] = {"running": hypervisor.status == "running"}
    if monitor.release.has_singlestep:
        status["singlestep"] = False
    status["status"] = hypervisor.status
    return status


@command()
def stop(monitor: Monitor) -> None:
    """Stop the processors, and with them the guest's time."""
    monitor.hypervisor.stop()


@command()
def cont(monitor: Monitor) -> None:
    """Let the processors go on."""
    monitor.hypervisor.cont()


@command("system_reset")
def system_reset(monitor: Monitor) -> None:
    """Reset the machine."""
    monitor.hypervisor.in_order(monitor.hypervisor.reset)


@command("system_powerdown")
def system_powerdown(monitor: Monitor) -> None:
    """Press the power button: the guest shuts down, if it heeds it."""
    monitor.hypervisor.in_order(monitor.hypervisor.powerdown)


@command("system_wakeup")
def system_wakeup(monitor: Monitor) -> None:
    """Wake a suspended guest."""
    hypervisor = monitor.hypervisor
    hypervisor.check_asleep()
    hypervisor.in_order(hypervisor.guest.power.wake)


@command("quit")
def quit_(monitor: Monitor) -> None:
    """End QEMU, and the guest with it."""
    monitor.hypervisor.in_order(monitor.hypervisor.quit)


@command()
def set_action(
    monitor: Monitor,
    reboot: Literal["reset", "shutdown"] | None = None,
    shutdown: Literal["poweroff", "pause"] | None = None,
    panic: Literal["pause", "shutdown", "exit-failure", "none"] | None = None,
    watchdog: Literal["reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"]
    | None = None,
) -> None:
    """Set what follows a reboot, a shutdown, a panic of the guest, or an expired watchdog."""
    hypervisor = monitor.hypervisor
    power = hypervisor.guest.power
    if reboot is not None:
        power.reboots = reboot == "reset"
    if panic is not None and hypervisor.on_panic is not None:
        hypervisor.on_panic = panic
    if watchdog is not None:
        hypervisor.watchdog.action = watchdog
    if shutdown is not None:
        power.keeps_machine = shutdown == "pause"


@command("watchdog-set-action")
def watchdog_set_action(
    monitor: Monitor,
    action: Literal["reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"],
) -> None:
    """Set what follows an expired watchdog."""
    monitor.hypervisor.watchdog.action = action


@command()
def inject_nmi(monitor: Monitor) -> None:
    """Interrupt the guest's processors. A guest of Linux notes it in its log, and no more."""


@command()
def rtc_reset_reinjection(monitor: Monitor) -> None:
    """Forget ticks of the real-time clock that the guest has not yet got: there are none."""


@command()
def query_vm_generation_id(monitor: Monitor) -> Any:
    """Return the generation of the machine: there is no device for it."""
    raise CommandError("VM Generation ID device not found")
