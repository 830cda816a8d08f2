"""What stands in front of an agent that is not simulated: what its faults and stubs make of a request."""

from collections import deque
from typing import Final

from qgasim.agent import Agent
from qgasim.agent.dispatch import find_answer, resolve
from qgasim.agent.stubs import write_stubbed
from qgasim.errors import CommandError
from qgasim.faults.base import join_bytes
from qgasim.qapi.envelope import show_id, write_error
from qgasim.simulation.channel import Sender
from qgasim.upstream.replies import Request
from qgasim.wire import Message

__all__ = ["OF_FREEZE", "finish", "take_up", "tell"]

#: How the commands begin that change, or tell, whether the guest is frozen.
OF_FREEZE: Final = "guest-fsfreeze-"


def take_up(agent: Agent, message: Message, sender: Sender) -> Request:
    """Return a request with what faults and stubs make of it."""
    request = Request(message, sender)
    stubbed = find_stubbed(agent, message)
    if agent.injector.concerns(message):
        request.disturbance = agent.injector.begin(message)
        answered = request.disturbance.answered
        if answered is not None:
            request.effects, request.is_done = deque(answered), True
    if stubbed is not None and not request.is_done:
        request.effects, request.is_done = deque([stubbed]), True
    return request


def find_stubbed(agent: Agent, message: Message) -> bytes | None:
    """Return the reply of a stub; None: the agent is asked."""
    commands, dialect = agent.commands, agent.dialect
    name = message.get("execute") if type(message) is dict else None
    stubs = commands.stubs.get(name) if type(name) is str else None
    if not stubs or type(message) is not dict:
        return None
    shown_id = show_id(message, dialect)
    try:
        entry, arguments = resolve(message, commands.table, commands.refused, dialect)
        answer = find_answer(stubs, entry, arguments)
    except CommandError as error:
        return write_error(error, shown_id)
    return None if answer is None else write_stubbed(answer, entry, shown_id)


def finish(agent: Agent, request: Request) -> bytes:
    """Let faults have the reply to a request, and note what it says; return its bytes, or the beginning."""
    disturbance = request.disturbance
    if disturbance is not None:
        disturbance.exchange.now = agent.guest.clock.uptime()
        request.effects = deque(agent.injector.end(disturbance, list(request.effects)))
    effects = request.effects
    first = effects[0] if len(effects) == 1 else None
    reply = request.start or (first if type(first) is bytes else join_bytes(list(effects)))
    if not request.is_unasked:
        follow(agent, request.message, reply)
    return reply


def tell(agent: Agent, request: Request, reply: bytes) -> None:
    """Notify observers of a request that has ended."""
    disturbance = request.disturbance
    if disturbance is not None and disturbance.firing:
        for observer in agent.observers:
            observer.fault_fired(disturbance.fired)
    agent.tell(request.message, reply)
    if request.length > len(reply):
        for observer in agent.observers:
            observer.reply_was(request.length)


def follow(agent: Agent, message: Message, reply: bytes) -> None:
    """Note what a reply says of the guest's state, on which faults and findings depend."""
    name = message.get("execute") if type(message) is dict else None
    if type(name) is not str or not name.startswith(OF_FREEZE):
        return
    is_error = b'"error"' in reply
    is_status = name == "guest-fsfreeze-status"
    if b'"frozen"' in reply or (name.startswith("guest-fsfreeze-freeze") and not is_error):
        if not agent.is_frozen:
            agent.freeze()
    elif agent.is_frozen and not is_error and (is_status or name == "guest-fsfreeze-thaw"):
        agent.thaw()
