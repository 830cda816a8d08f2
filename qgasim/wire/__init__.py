"""QEMU's JSON dialect: bytes to messages, and values to text.

Nothing here knows a command.
"""

from qgasim.wire.first import FirstReader
from qgasim.wire.locating import LocatingReader
from qgasim.wire.old import OldReader
from qgasim.wire.reader import LineReader, MessageReader
from qgasim.wire.text import from_bytes, to_bytes
from qgasim.wire.values import JsonValue, Message, is_array, is_object
from qgasim.wire.writer import bucket, encode, encode_double, encode_string, hash_order

__all__ = [
    "FirstReader",
    "JsonValue",
    "LineReader",
    "LocatingReader",
    "Message",
    "MessageReader",
    "OldReader",
    "bucket",
    "encode",
    "encode_double",
    "encode_string",
    "from_bytes",
    "hash_order",
    "is_array",
    "is_object",
    "to_bytes",
]
