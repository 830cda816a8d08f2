"""A recording behind a channel, in place of a real agent."""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from qgasim.conversation import Conversation
from qgasim.conversation.exchanges import recorded_exchanges
from qgasim.conversation.playing import Player
from qgasim.dialect import find_dialect
from qgasim.effects import Close, Effect, Wait
from qgasim.errors import CommandError, ConversationError
from qgasim.qapi.envelope import show_id, write_error
from qgasim.scenario import Scenario
from qgasim.upstream.channel import UpstreamChannel
from qgasim.upstream.front import Front
from qgasim.upstream.replies import Request
from qgasim.wire import Message

__all__ = ["Manner", "RecordingLink", "Then", "make_replay"]

#: What answers a request that the recording has no reply to: the simulated guest, or an error.
Then = Literal["model", "error"]
_SECOND: Final = 1_000_000_000


class Manner(Struct, frozen=True, kw_only=True):
    """How a recording is replayed."""

    #: Whether requests must come in the recorded order.
    is_strict: bool = False
    #: Whether replies take as long as they took.
    has_pace: bool = False
    #: What answers a request that the recording has no reply to.
    then: Then = "error"


class RecordingLink:
    """The way to a recording."""

    #: It takes all at once.
    is_full = False

    def __init__(self, conversation: Conversation, manner: Manner) -> None:
        self._conversation = conversation
        self._manner = manner
        self._channel: UpstreamChannel
        #: What answers.
        self.player: Player

    def attach(self, channel: UpstreamChannel) -> None:
        """Answer what *channel* asks."""
        self._channel = channel
        agent = channel.agent
        exchanges = recorded_exchanges(self._conversation, agent.dialect, agent.commands.table)
        is_redacted = self._conversation.meta.get("redacted") is True
        self.player = Player(
            exchanges, agent.dialect, is_strict=self._manner.is_strict, is_redacted=is_redacted
        )

    def connect(self) -> None:
        """Do nothing: a recording is always there."""

    def disconnect(self, *, leaving_unread: bool = False) -> None:
        """Do nothing."""

    def go_on(self) -> None:
        """Do nothing: replies come at once."""

    def ask(self, data: bytes, requests: Sequence[Request]) -> bytes:  # noqa: ARG002
        """Answer *requests*."""
        for request in requests:
            if not request.is_replaced:
                request.effects.extend(self._answer(request.message))
                request.is_done = True
        return b""

    def _answer(self, message: Message) -> list[Effect]:
        player, agent = self.player, self._channel.agent
        played = player.play(message)
        if played is None:
            if self._manner.is_strict:
                for observer in agent.observers:
                    observer.noted(player.mismatch)
            if self._manner.then == "model":
                return agent.execute(message)
            error = CommandError(player.mismatch)
            return [write_error(error, show_id(message, agent.dialect))]
        effects: list[Effect] = []
        if self._manner.has_pace:
            effects.append(Wait(agent.guest.clock.uptime() + int(played.delay * _SECOND)))
        if played.reply:
            effects.append(played.reply)
        if played.end is not None:
            effects.append(Close("end" if played.end == "EOF" else "reset"))
        return effects


def make_replay(
    scenario: Scenario,
    conversation: Conversation,
    manner: Manner,
    *,
    release: str | None = None,
) -> Front:
    """Return what replays a recording, with the faults and replies of *scenario* in front.

    Args:
        scenario: also the guest that answers the rest, if *manner* says so.
        conversation: the recording.
        manner: how it is replayed.
        release: of the agent; None: the one that the recording says.

    Raises:
        ConversationError: the recording does not say which release it is of, or it is unknown.
        ScenarioError: the scenario cannot be built, or needs a simulated guest.
    """
    release = release or conversation.release
    if release is None:
        raise ConversationError(
            f"{conversation.name}:1: no `agent` in meta: name the release by --agent"
        )
    if find_dialect(release) is None:
        raise ConversationError(f"{conversation.name}:1: no such release of qemu-ga: '{release}'")
    scenario.agent.release = release
    return Front(scenario, lambda: RecordingLink(conversation, manner))
