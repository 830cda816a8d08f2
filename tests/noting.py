"""A guest with a journal, for tests: its client does as a driver does."""

from typing import Any

from qgasim.effects import Wait
from qgasim.faults import Fault
from qgasim.simulation.journal import Exchange, Journal
from tests.serving import SECOND, Course


class Noted(Course):
    """A guest with a journal, and a client that has connected."""

    def __init__(self, scenario: str = "debian-12", limit: int = 10_000) -> None:
        super().__init__(scenario)
        self.journal = Journal(self.simulation, limit)
        self.connect()

    def connect(self) -> bytes:
        return self.perform(self.channel.connect())

    def leave(self, *, unread: bytes | None = None) -> None:
        self.channel.lose_client(unread=unread)

    def inject(self, fault: Fault) -> None:
        self.agent.injector.inject(fault)

    def perform(self, effects: Any) -> bytes:
        """Do as a driver does: send what is to be sent, hold what has to wait."""
        sent = b""
        for effect in effects:
            if isinstance(effect, Wait):
                self.channel.defer(effect.until, effects)
                break
            if type(effect) is bytes:
                sent += effect
        return sent

    def send(self, data: bytes) -> bytes:
        return self.perform(self.channel.receive(data))

    def advance(self, seconds: float) -> bytes:
        """Let guest time pass; give what comes until nothing more comes by itself."""
        self.clock.now += int(seconds * SECOND)
        sent = b""
        while True:
            sent += self.perform(self.channel.wake())
            event = self.channel.next_event()
            if event is None or event > self.guest.clock.uptime():
                return sent

    @property
    def last(self) -> Exchange:
        return self.journal.exchanges[-1]
