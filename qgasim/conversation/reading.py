"""Reading recorded conversations; errors are reported with file and line."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from qgasim.conversation.steps import Step, unpack
from qgasim.errors import ConversationError

__all__ = ["Conversation", "parse_conversation", "read_conversation"]

#: The largest file that is read.
FILE_LIMIT: Final = 512 << 20
#: The version of the format that is written; a file that does not say one is of this.
VERSION: Final = 1


class _First(Struct, forbid_unknown_fields=True):
    """The first line of a recording."""

    meta: dict[str, Any]


_FIRST: Final = msgspec.json.Decoder(_First)
_STEP: Final = msgspec.json.Decoder(Step)


class Conversation(Struct):
    """A recording: what is known of it, and its steps in order."""

    #: Where it was read from.
    name: str
    #: What the first line says: the agent's release (``agent``), and more.
    meta: dict[str, Any]
    steps: list[Step]

    @property
    def release(self) -> str | None:
        """The release of the agent that was recorded; None: the recording does not say."""
        found = self.meta.get("agent")
        return found if isinstance(found, str) else None

    def place_of(self, index: int) -> str:
        """Return the file and line of the step with *index*."""
        return f"{self.name}:{index + 2}"

    def cases(self) -> dict[str, list[Step]]:
        """Return the steps of each case, by its name."""
        cases: dict[str, list[Step]] = {}
        for step in self.steps:
            cases.setdefault(step.case, []).append(step)
        return cases


def read_conversation(path: str) -> Conversation:
    """Read a recording.

    Raises:
        ConversationError: it cannot be read, is no recording, or is cut off; says the line.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size > FILE_LIMIT:
                raise ConversationError(f"{path}: more than {FILE_LIMIT >> 20} MiB")
            file.seek(0)
            return parse_conversation(file, path)
    except OSError as error:
        raise ConversationError(f"{path}: {error.strerror}") from None


def parse_conversation(lines: Iterable[bytes], name: str) -> Conversation:
    """Return the recording that *lines* are; *name* is what errors call it.

    Raises:
        ConversationError: it is no recording, or is cut off.
    """
    meta: dict[str, Any] | None = None
    steps: list[Step] = []
    for number, line in enumerate(lines, 1):
        try:
            if meta is None:
                meta = _read_meta(line)
                continue
            step = _STEP.decode(line)
            # What is no bytes is reported with its line.
            for packed in (step.send, step.recv):
                unpack(packed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise ConversationError(f"{name}:{number}: {_explain(line, error)}") from None
        steps.append(step)
    if meta is None:
        raise ConversationError(f"{name}: empty (expected a first line with `meta`)")
    return Conversation(name, meta, steps)


def _read_meta(line: bytes) -> dict[str, Any]:
    try:
        meta = _FIRST.decode(line).meta
    except msgspec.ValidationError as error:
        raise ValueError(f'{error} (expected the first line to be {{"meta": {{...}}}})') from None
    version = meta.get("conversation", VERSION)
    if version != VERSION:
        raise ValueError(f"version {version!r} of the format is unknown (expected {VERSION})")
    return meta


def _explain(line: bytes, error: Exception) -> str:
    """Return what is wrong with a line."""
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if not line.endswith(b"\n") and isinstance(error, msgspec.DecodeError):
        return "the line is cut off (the recording ended before it was written)"
    return str(error)
