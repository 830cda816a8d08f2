"""``qgasim --upstream``: a real agent, with a scenario's faults in front."""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from qgasim.cli.differences import difference_lines
from qgasim.cli.text import complain
from qgasim.errors import QgaSimError

if TYPE_CHECKING:
    from qgasim.compare import Difference
    from qgasim.scenario import Scenario
    from qgasim.simulation.simulation import Simulation
    from qgasim.upstream import Front

__all__ = ["make_front", "show_differences"]

#: How long to wait for the agent's first answers, in seconds.
_TIMEOUT: Final = 10.0


def make_front(scenario: "Scenario", options: argparse.Namespace) -> "Front":
    """Return what stands before the agent at ``--upstream``.

    Raises:
        QgaSimError: there is no agent, or the scenario needs a simulated guest.
    """
    from qgasim.client.connecting import parse_agent_address
    from qgasim.dialect import find_dialect
    from qgasim.upstream import Front, SocketLink
    from qgasim.upstream.inspecting import inspect

    try:
        address = parse_agent_address(options.upstream)
    except ValueError as error:
        raise QgaSimError(f"--upstream: {error}") from None
    if options.agent is not None and find_dialect(options.agent) is None:
        raise QgaSimError(f"--agent: no such release: '{options.agent}'")
    found = inspect(address, _TIMEOUT, options.agent)
    named = options.agent or (scenario.agent.release if options.scenario is not None else None)
    for note in [*found.notes, *_tell_other_release(found.survey.version, named)]:
        complain(note, "qgasim: note: ")
    scenario.agent.release = found.release
    scenario.agent.is_frozen = found.survey.is_frozen
    return Front(scenario, partial(SocketLink, address, _TIMEOUT), found.survey)


def _tell_other_release(version: str | None, named: str | None) -> Iterator[str]:
    """Yield a line if the agent's *version* is not of the release that is named, by --agent or the scenario."""
    from qgasim.dialect import find_dialect

    said, wanted = find_dialect(version or ""), find_dialect(named or "")
    if said is not None and wanted is not None and said.version != wanted.version:
        yield f"the agent says that it is {version}; named is {named}"


def show_differences(front: "Front", simulation: "Simulation") -> None:
    """Ask a simulated agent what clients ask the real one, and show where it answers differently."""
    from qgasim.upstream.twin import Twin

    assert front.survey is not None

    def show(difference: "Difference") -> None:
        if sys.stderr is None:
            return
        lines = "\n".join(difference_lines("difference:", difference))
        print(lines, file=sys.stderr, flush=True)

    simulation.observe(Twin(simulation, show, front.survey))
