"""Findings about the state of the guest that a client leaves or does not mind."""

from collections.abc import Iterator

from qgasim.findings.evidence import Evidence, Request, show
from qgasim.findings.kinds import finding

__all__: list[str] = []


@finding(
    remedy="Send guest-fsfreeze-thaw in every case, in a `finally`; after a freeze that was not "
    "answered, too: it may have happened all the same."
)
def frozen_never_thawed(evidence: Evidence) -> Iterator[str]:
    """A client froze the guest's file systems and never asked for the thaw.

    All that writes in the guest stands still for good. Most often an error between freeze and thaw
    was the cause, or a reply to the freeze that came later than the client's time-out. A thaw that
    was asked for counts, even if no agent has read it.
    """
    frozen: Request | None = None
    for request in evidence.requests:
        if request.command == "guest-fsfreeze-thaw":
            frozen = None
        elif request.exchange is not None and request.exchange.effect == "frozen":
            frozen = request
    if frozen is not None and evidence.journal.simulation.agent.is_frozen:
        yield str(frozen)


@finding(
    remedy="Between freeze and thaw send only guest-sync, guest-sync-delimited, guest-ping, "
    "guest-info, guest-fsfreeze-status and guest-fsfreeze-thaw."
)
def request_while_frozen(evidence: Evidence) -> Iterator[str]:
    """A client asked a frozen guest for what the agent refuses until the thaw.

    Such a request always fails: while file systems are frozen the agent could not even write its own
    log without getting stuck.
    """
    agent = evidence.journal.simulation.agent
    for exchange in evidence.exchanges:
        entry = agent.commands.table.get(exchange.command or "")
        if not exchange.was_frozen or entry is None:
            continue
        if not entry.command.while_frozen and exchange.command not in agent.commands.blocked:
            yield show(exchange)


@finding(remedy="Close each handle in a `finally`, also where reading or writing failed.")
def handle_left_open(evidence: Evidence) -> Iterator[str]:
    """A client opened a file, and left the handle open.

    Handles belong to the agent, not to a connection: they stay until the agent ends, what was
    written to them may not be in the file, and one day the agent cannot open any more. A handle
    that the client was never told does not count.
    """
    left = evidence.journal.simulation.agent.state.handles
    opened = {f"opened handle {handle}": handle for handle in left}
    closed = {
        request.arguments.get("handle")
        for request in evidence.requests
        if request.command == "guest-file-close"
        and isinstance(request.arguments.get("handle"), int)
    }
    for request in evidence.requests:
        exchange = request.exchange
        if exchange is None or request.answered is None:
            continue
        handle = opened.get(exchange.effect)
        if handle is not None and handle not in closed:
            yield show(exchange)
