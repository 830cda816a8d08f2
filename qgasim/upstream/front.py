"""A scenario whose agent is elsewhere: its faults stand before a real agent, or a recording of one."""

from collections.abc import Callable, Iterable
from typing import Protocol

from qgasim.compare.survey import Survey
from qgasim.errors import ScenarioError
from qgasim.guest.system.clock import host_clock
from qgasim.scenario import Blueprint, Scenario
from qgasim.scenario.shares import Share
from qgasim.simulation.simulation import Companion, Simulation
from qgasim.upstream.channel import Link, UpstreamChannel
from qgasim.upstream.limits import explain_limit

__all__ = ["Front", "FrontLink"]


class FrontLink(Link, Protocol):
    """A link that is told the channel it belongs to."""

    def attach(self, channel: UpstreamChannel) -> None:
        """Bring what comes to *channel*."""


class Front(Blueprint):
    """Makes simulations that stand before another agent.

    Args:
        scenario: its faults and stubs, and the release of the agent behind.
        make_link: makes the way to the agent behind.
        survey: what that says of itself, if it was asked.

    Raises:
        ScenarioError: the scenario cannot be built, or says what only a simulated guest can do.
    """

    def __init__(
        self,
        scenario: Scenario,
        make_link: Callable[[], FrontLink],
        survey: Survey | None = None,
    ) -> None:
        super().__init__(scenario)
        self.survey = survey
        self._make_link = make_link
        wrong = [
            f"{part}[{number}]: {what.__struct_config__.tag}: needs a simulated guest: {limit}"
            for part, all_of_it in (
                ("faults", self.scenario.faults),
                ("timeline", scenario.timeline),
            )
            for number, what in enumerate(all_of_it)
            if (limit := explain_limit(what)) is not None
        ]
        if wrong:
            raise ScenarioError("\n".join(wrong))

    def build(
        self, source: Callable[[], int] = host_clock, shares: Iterable[Share] = ()
    ) -> Simulation:
        """Make a simulation whose channel leads to the agent behind.

        Raises:
            ScenarioError: the scenario cannot be built.
        """
        simulation = super().build(source, shares)
        link = self._make_link()
        before = simulation.channel
        channel = UpstreamChannel(simulation.agent, link, ends_early=before.ends_when_sending_ends)
        channel.write_size = before.write_size
        link.attach(channel)
        simulation.channel = channel
        simulation.explain_limit = explain_limit
        if isinstance(link, Companion):
            simulation.companion = link
        return simulation
