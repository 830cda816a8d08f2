"""Asking two agents the same, and judging their answers."""

import re
from typing import Any, Final

from qgasim.client.blocking import parse
from qgasim.compare.connection import Asked
from qgasim.compare.probes import HANDLE, Probe
from qgasim.compare.result import Comparison, Difference
from qgasim.compare.shapes import find_misfits, spell
from qgasim.compare.survey import read_return
from qgasim.dialect import Dialect
from qgasim.errors import ClientError
from qgasim.qapi.registry import Table
from qgasim.wire import is_object

__all__ = ["Pair"]

#: In which line qemu-ga 11.1 says that an error is: it counts since it was started.
_LINE: Final = re.compile(rb'(?<="desc": ")\d+(?=:\d+: JSON )')


class Pair:
    """The real agent and the simulated one; what differs goes into *result*."""

    def __init__(
        self, real: Asked, simulated: Asked, table: Table, dialect: Dialect, result: Comparison
    ) -> None:
        self._real = real
        self._simulated = simulated
        self._table = table
        self._dialect = dialect
        self._result = result
        #: What the end of a request is answered with if there was no request.
        self._noise = _mask(real.ask(())), _mask(simulated.ask(()))
        #: What guest-file-open has given both, if it has.
        self._handles: tuple[Any, Any] | None = None
        #: The commands that are refused although they are listed, or nothing is.
        self._refused: set[str | None] = set()

    def ask(self, probe: Probe) -> None:
        """Ask both.

        Raises:
            ClientError: the real agent does not answer, and so cannot be asked any more.
        """
        if HANDLE in probe.request and self._handles is None:
            return
        self._result.asked += 1
        simulated = self._strip(self._simulated.ask(self._with_handle(probe, 1)), 1)
        try:
            real = self._strip(self._real.ask(self._with_handle(probe, 0)), 0)
        except ClientError as error:
            self._differ(probe, "the real agent does not answer", str(error).encode(), simulated)
            raise
        if probe.command == "guest-file-open" and probe.is_own:
            handles = read_return(real), read_return(simulated)
            self._handles = handles if all(isinstance(h, int) for h in handles) else None
        if real == simulated or self._is_refused(probe, real):
            return
        if not probe.is_own:
            self._differ(probe, "the answers", real, simulated)
        elif misfits := self._judge(probe, real):
            self._differ(probe, "; ".join(misfits), real, simulated)

    def _with_handle(self, probe: Probe, side: int) -> tuple[bytes, ...]:
        if self._handles is None:
            return probe.pieces
        handle = b"%d" % self._handles[side]
        return tuple(piece.replace(HANDLE, handle) for piece in probe.pieces)

    def _strip(self, answer: bytes, side: int) -> bytes:
        """Take off what even no request is answered with; if it is not there, that is kept visible."""
        noise, masked = self._noise[side], _mask(answer)
        stripped = masked.removesuffix(noise)
        return stripped if stripped != masked or not noise else masked + b"(and nothing more)"

    def _differ(self, probe: Probe, what: str, real: bytes, simulated: bytes) -> None:
        self._result.differences.append(
            Difference(probe.topic, probe.request, what, real, simulated)
        )

    def _is_refused(self, probe: Probe, answer: bytes) -> bool:
        """Return whether the real agent refuses a command that the simulated one has."""
        if probe.command is None or _error_of(answer).get("class") != "CommandNotFound":
            return False
        if probe.command not in self._refused:
            self._refused.add(probe.command)
            self._note(probe, "is refused", answer)
        return True

    def _note(self, probe: Probe, why: str, answer: bytes) -> None:
        text = f"{probe.command} {why}, and is not compared: {_error_of(answer).get('desc')}"
        if text not in self._result.notes:
            self._result.notes.append(text)

    def _judge(self, probe: Probe, answer: bytes) -> list[str]:
        """Return what of a reply with values of the machine's own is not as the release has it."""
        if _error_of(answer):
            self._note(probe, "fails in the real guest", answer)
            return []
        reply = parse(answer)
        if list(reply) != ["return"]:
            return ["no reply with a single member, `return`"]
        value = reply["return"]
        returns = self._table[probe.command or ""].command.returns
        misfits = list(dict.fromkeys(find_misfits(value, returns, self._dialect)))
        if not misfits and f'{{"return": {spell(value, self._dialect)}}}\n'.encode() != answer:
            return ["the spelling"]
        return misfits


def _mask(answer: bytes) -> bytes:
    return _LINE.sub(b"LINE", answer)


def _error_of(answer: bytes) -> dict[str, Any]:
    """Return the error of a reply; an empty one if it is none."""
    error = parse(answer).get("error")
    return error if is_object(error) else {}
