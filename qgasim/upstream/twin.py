"""A simulated agent beside a real one, asked the same as clients ask: where do they differ?"""

from collections.abc import Callable
from typing import Final

from qgasim.agent.observer import Observer
from qgasim.compare.connection import SimulatedAgent
from qgasim.compare.pair import Pair
from qgasim.compare.probes import LOOKING, SAME_EVERYWHERE, Probe
from qgasim.compare.result import Comparison, Difference
from qgasim.compare.survey import Survey, build_like
from qgasim.errors import ClientError
from qgasim.simulation.simulation import Simulation
from qgasim.wire import Message, encode, is_object

__all__ = ["Twin"]

_INFO: Final = "guest-info"


class _Overheard:
    """The real agent, as its replies to others are heard."""

    def __init__(self, noise: bytes) -> None:
        self._noise = noise
        self.reply = b""

    def ask(self, pieces: tuple[bytes, ...]) -> bytes:  # noqa: ARG002
        """Return what was heard, and what a simulated agent says after it."""
        return self.reply + self._noise


class Twin(Observer):
    """Asks a simulated agent of the same release what a real one is asked, if that changes nothing.

    Compared is as `qgasim compare` does: errors literally, values of the machine's own by their form.

    Args:
        simulation: what stands before the real agent.
        show: called with each difference, once for each request.
        found: what the real agent says of itself: its twin is the nearest guest that comes with qgasim, with the
            same commands disabled, as `qgasim compare` chooses it.
    """

    def __init__(
        self,
        simulation: Simulation,
        show: Callable[[Difference], None],
        found: Survey,
    ) -> None:
        dialect = simulation.agent.dialect
        release = dialect.full_version
        notes: list[str] = []
        name, twin = build_like(found, scenario=None, release=release, notes=notes)
        simulated = SimulatedAgent(twin)
        self._show = show
        self._table = twin.agent.commands.table
        self.result = Comparison(found.version, found.system, release, name, notes=notes)
        self._heard = _Overheard(simulated.ask(()))
        self._pair = Pair(self._heard, simulated, self._table, dialect, self.result)
        self._asked: set[bytes] = set()
        self._fired = False

    def fault_fired(self, faults: object) -> None:
        """Leave out the exchange that follows: its reply is not the agent's own."""
        self._fired = bool(faults)

    def exchanged(self, request: Message, reply: bytes) -> None:
        """Ask the simulated agent the same, and compare."""
        fired, self._fired = self._fired, False
        probe = None if fired or not reply else self._probe(request)
        if probe is None or len(self._asked) > 10_000 or probe.request in self._asked:
            return
        self._asked.add(probe.request)
        self._heard.reply = reply
        count = len(self.result.differences)
        try:
            self._pair.ask(probe)
        except ClientError:
            return
        for difference in self.result.differences[count:]:
            self._show(difference)

    def _probe(self, request: Message) -> Probe | None:
        """Return a request as a probe; None: it could change something, or depends on what was before."""
        if not is_object(request):
            return None
        name = request.get("execute")
        if type(name) is not str:
            return None
        text = encode(request).encode("utf-8", "surrogateescape")
        if name not in self._table:
            return Probe("commands", (text,))
        if name not in LOOKING or name == _INFO:
            return None
        has_arguments = "arguments" in request or "id" in request
        is_own = name not in SAME_EVERYWHERE and not has_arguments
        return Probe("values", (text,), name, is_own) if is_own or not has_arguments else None
