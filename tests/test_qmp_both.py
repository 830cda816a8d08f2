"""Clients that hold both sockets of a machine, its agent's and its monitor's, through a day of a machine: it is
suspended, woken, rebooted and shut down. A careful one does it in every scenario of the monitor, a naive one does not.
"""

from typing import Any, Final

import pytest

from qgasim.scenario import load, loads
from tests.test_qmp_misbehaviour import Bench

PLAIN: Final = "qgasim: 1\nmachine: {on_shutdown: pause}\n"
#: How long a client waits for something, in seconds of the guest.
PATIENCE: Final = 90


class GaveUp(Exception):
    """The client does not know how to go on."""


class Client:
    """What both clients do: they ask, and keep the events."""

    def __init__(self, machine: Bench) -> None:
        self.machine = machine
        self.events: list[str] = []
        # It comes when the machine has been there for a while.
        machine.advance(5)
        machine.negotiate()

    def ask(self, command: str) -> str:
        """Ask the monitor; return the reply, which comes with events."""
        *events, reply = [m for m in self.machine.ask(command) if m] or [""]
        self.events += events
        return reply

    def status(self) -> str:
        hypervisor = self.machine.simulation.hypervisor
        assert hypervisor is not None
        assert self.ask("query-status") == "return"
        return hypervisor.status

    def pass_a_second(self) -> None:
        self.events += self.machine.advance(1)

    def wait(self, done: Any) -> None:
        for _ in range(PATIENCE):
            if done():
                return
            self.pass_a_second()
        raise GaveUp(self.events)

    def wait_for(self, event: str) -> None:
        self.wait(lambda: event in self.events)
        self.events.clear()

    def ping(self) -> bool:
        """Ask the agent whether it is there; it may answer later."""
        return self.machine.answers("guest-ping")


class Careful(Client):
    """It believes what it has seen: the state, or an agent that answers. Events only save it time."""

    def suspend(self) -> None:
        self.machine.agent("guest-suspend-ram")
        self.wait(lambda: "SUSPEND" in self.events or self.status() == "suspended")

    def wake(self) -> None:
        # A wake-up that is refused is tried again.
        self.wait(lambda: self.ask("system_wakeup") == "return")
        self.wait(lambda: self.status() == "running" and self.ping())

    def reboot(self) -> None:
        boot = self.machine.simulation.guest.boot_id
        self.machine.agent("guest-shutdown", mode="reboot")
        self.wait(lambda: self.machine.simulation.guest.boot_id != boot and self.ping())

    def shut_down(self) -> None:
        self.machine.agent("guest-shutdown")
        self.wait(lambda: "SHUTDOWN" in self.events or self.status() == "shutdown")
        # With -no-shutdown the machine is still there.
        self.ask("quit")


class Naive(Client):
    """It takes each event for what it hopes that it means, and each reply for success."""

    def suspend(self) -> None:
        self.machine.agent("guest-suspend-ram")
        self.wait_for("SUSPEND")

    def wake(self) -> None:
        if self.ask("system_wakeup") != "return":
            raise GaveUp
        for _ in range(3):
            self.pass_a_second()
        if "VSERPORT_CHANGE" not in self.events:
            raise GaveUp
        self.events.clear()

    def reboot(self) -> None:
        self.machine.agent("guest-shutdown", mode="reboot")
        for _ in range(30):
            self.pass_a_second()
        if self.events.count("RESET") != 1:
            raise GaveUp(f"it has rebooted {self.events.count('RESET')} times")

    def shut_down(self) -> None:
        self.machine.agent("guest-shutdown")
        self.wait_for("SHUTDOWN")
        hypervisor = self.machine.simulation.hypervisor
        assert hypervisor is not None
        # It waits for the end of the process.
        self.wait(lambda: hypervisor.has_ended)


def spend_the_day(client: Careful | Naive) -> None:
    for step in (client.suspend, client.wake, client.reboot, client.shut_down):
        step()
    hypervisor = client.machine.simulation.hypervisor
    assert hypervisor is not None
    assert hypervisor.has_ended


#: What goes wrong for the naive client; a scenario in which the guest does not heed it is for others.
DAYS: Final = (
    "qmp-port-event-late", "qmp-resets-by-firmware", "qmp-shutdown-stays", "qmp-suspend-event-lost",
    "qmp-wakeup-fails",
)  # fmt: skip


@pytest.mark.parametrize("name", [*DAYS, "qmp-event-before-greeting", "qmp-port-opens-twice"])
def test_a_careful_client_gets_through(name: str) -> None:
    client = Careful(Bench(load(name)))
    spend_the_day(client)
    assert client.machine.found() == []


@pytest.mark.parametrize("name", DAYS)
def test_a_naive_client_does_not(name: str) -> None:
    with pytest.raises(GaveUp):
        spend_the_day(Naive(Bench(load(name))))


def test_a_naive_client_gets_through_where_nothing_goes_wrong() -> None:
    spend_the_day(Naive(Bench(loads("qgasim: 1\nmachine: {}\n"))))
    spend_the_day(Careful(Bench(loads(PLAIN))))
