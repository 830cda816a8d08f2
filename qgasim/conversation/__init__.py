"""Recorded conversations between clients and an agent: their format, how they are read, written and replayed.

Nothing here does I/O but `read_conversation`, which opens a file.
"""

from qgasim.conversation.reading import Conversation, parse_conversation, read_conversation
from qgasim.conversation.steps import Packed, Repeat, Step, pack, unpack
from qgasim.conversation.writing import ConversationWriter

__all__ = [
    "Conversation",
    "ConversationWriter",
    "Packed",
    "Repeat",
    "Step",
    "pack",
    "parse_conversation",
    "read_conversation",
    "unpack",
]
