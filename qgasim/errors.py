"""Every exception of qgasim.

QgaSimError
 ├── ScenarioError          the scenario is wrong; says file, line, column and how to fix it
 ├── ListenError            a socket cannot be served; says which and why
 ├── ServerError            a guest is not served any more, or its thread is busy
 ├── ClientError            `qgasim.client`: no agent, no answer in time, or an error reply
 ├── ConversationError      a recorded conversation cannot be read; says file and line
 ├── VerificationError      a client did not do what a test asked of it; an AssertionError, too
 ├── CommandError           becomes {"error": {"class": "GenericError", "desc": ...}}
 │    ├── CommandNotFound   class "CommandNotFound"
 │    ├── DeviceNotFound    class "DeviceNotFound": QEMU's monitor only
 │    ├── DeviceNotActive   class "DeviceNotActive": QEMU's monitor only
 │    └── AgentAbort        no reply: the agent's process ends
 └── GuestError             raised by the model; never reaches the wire untranslated
      ├── KernelError       the guest's kernel refuses a system call; an OSError, too
      └── SettingsError     a guest cannot be furnished as its settings say

An `OSError` that is no `KernelError` is the host's.
"""

import signal

__all__ = [
    "AgentAbort",
    "ClientError",
    "CommandError",
    "CommandNotFound",
    "ConversationError",
    "DeviceNotActive",
    "DeviceNotFound",
    "GuestError",
    "KernelError",
    "LeftBehindWarning",
    "ListenError",
    "QgaSimError",
    "RedactionError",
    "ScenarioError",
    "ServerError",
    "SettingsError",
    "VerificationError",
]


class QgaSimError(Exception):
    """Whatever qgasim raises on purpose."""


class ScenarioError(QgaSimError):
    """A scenario cannot be loaded; the text holds one line per fault found."""


class ListenError(QgaSimError):
    """A socket cannot be listened on."""


class ServerError(QgaSimError):
    """A guest cannot be reached by its test: its thread has ended, is busy, or another process's."""


class ClientError(QgaSimError):
    """A request of `qgasim.client` was not answered, or answered by an error."""


class ConversationError(QgaSimError):
    """A recorded conversation cannot be read, written or replayed; says the file, and the line."""


class RedactionError(QgaSimError):
    """A recording cannot be made without private values in it."""


class VerificationError(QgaSimError, AssertionError):
    """A client did not do what `qgasim.testing.verification` was told to expect."""


class CommandError(QgaSimError):
    """An error reply, in QEMU's words."""

    error_class: str = "GenericError"
    #: What could not be read as JSON, without the white space in it; empty for other errors.
    text: bytes = b""


class CommandNotFound(CommandError):
    """The agent has no such command, or will not run it now."""

    error_class = "CommandNotFound"


class DeviceNotFound(CommandError):
    """The machine has no such device."""

    error_class = "DeviceNotFound"


class DeviceNotActive(CommandError):
    """The machine has such a device, or could have one, but the guest does not drive it."""

    error_class = "DeviceNotActive"


class AgentAbort(CommandError):
    """The agent's process ends by a signal, in place of a reply."""

    def __init__(self, number: int = signal.SIGABRT) -> None:
        super().__init__()
        self.signal = number


class GuestError(QgaSimError):
    """The virtual guest cannot do what it was asked."""


class KernelError(GuestError, OSError):
    """The guest's kernel refuses a system call, with its own errno."""


class SettingsError(GuestError):
    """A guest cannot be furnished as its settings say.

    Args:
        path: which of them, as in ``files./etc/motd``.
        text: what is wrong.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path
        self.text = text


class LeftBehindWarning(UserWarning):
    """A test is over, and something of it is still there: a client that is connected, a blocked thread."""
