"""A simulated QEMU guest agent for developers of hypervisor tools.

What most users need is here; a name's module is imported when the name is first used.
docs/python.md shows how it fits together, docs/pytest.md what the plugin adds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qgasim.agent import Agent
    from qgasim.client import SyncClient
    from qgasim.errors import (
        ClientError,
        ListenError,
        QgaSimError,
        ScenarioError,
        ServerError,
        VerificationError,
    )
    from qgasim.faults import (
        AcceptThenSilence,
        Bandwidth,
        Bom,
        CloseConnection,
        Corrupt,
        Crash,
        Crlf,
        Delay,
        Drop,
        Duplicate,
        Edit,
        Empty,
        ExtraSentinel,
        Fault,
        Garbage,
        HalfClose,
        Hang,
        Huge,
        Ignore,
        InjectedError,
        InvalidUtf8,
        KillOn,
        Late,
        Leak,
        MissingSentinel,
        NoNewline,
        Refuse,
        Reorder,
        Reset,
        Split,
        Stale,
        Truncate,
        WrongId,
    )
    from qgasim.findings import Finding, find
    from qgasim.guest import Guest
    from qgasim.journal import Journal
    from qgasim.live import LiveGuest
    from qgasim.matching import Match
    from qgasim.scenario import Blueprint, Scenario, load, loads
    from qgasim.server import serve
    from qgasim.stubs import Stub
    from qgasim.threads import Host, ServerThread
    from qgasim.trio_client import Client
    from qgasim.trio_guest import TrioGuest
    from qgasim.verification import in_order, never, verify

__version__ = "0.1.0"
#: The guest that is meant where none is named.
DEFAULT_SCENARIO: Final = "debian-12"

__all__ = [
    "AcceptThenSilence",
    "Agent",
    "Bandwidth",
    "Blueprint",
    "Bom",
    "Client",
    "ClientError",
    "CloseConnection",
    "Corrupt",
    "Crash",
    "Crlf",
    "Delay",
    "Drop",
    "Duplicate",
    "Edit",
    "Empty",
    "ExtraSentinel",
    "Fault",
    "Finding",
    "Garbage",
    "Guest",
    "HalfClose",
    "Hang",
    "Host",
    "Huge",
    "Ignore",
    "InjectedError",
    "InvalidUtf8",
    "Journal",
    "KillOn",
    "Late",
    "Leak",
    "ListenError",
    "LiveGuest",
    "Match",
    "MissingSentinel",
    "NoNewline",
    "QgaSimError",
    "Refuse",
    "Reorder",
    "Reset",
    "Scenario",
    "ScenarioError",
    "ServerError",
    "ServerThread",
    "Split",
    "Stale",
    "Stub",
    "SyncClient",
    "TrioGuest",
    "Truncate",
    "VerificationError",
    "WrongId",
    "find",
    "in_order",
    "load",
    "loads",
    "never",
    "serve",
    "verify",
]

_MODULES: Final = {
    "Agent": "agent",
    "SyncClient": "client",
    "ClientError": "errors",
    "ListenError": "errors",
    "QgaSimError": "errors",
    "ScenarioError": "errors",
    "ServerError": "errors",
    "VerificationError": "errors",
    "AcceptThenSilence": "faults",
    "Bandwidth": "faults",
    "Bom": "faults",
    "CloseConnection": "faults",
    "Corrupt": "faults",
    "Crash": "faults",
    "Crlf": "faults",
    "Delay": "faults",
    "Drop": "faults",
    "Duplicate": "faults",
    "Edit": "faults",
    "Empty": "faults",
    "ExtraSentinel": "faults",
    "Fault": "faults",
    "Garbage": "faults",
    "HalfClose": "faults",
    "Hang": "faults",
    "Huge": "faults",
    "Ignore": "faults",
    "InjectedError": "faults",
    "InvalidUtf8": "faults",
    "KillOn": "faults",
    "Late": "faults",
    "Leak": "faults",
    "MissingSentinel": "faults",
    "NoNewline": "faults",
    "Refuse": "faults",
    "Reorder": "faults",
    "Reset": "faults",
    "Split": "faults",
    "Stale": "faults",
    "Truncate": "faults",
    "WrongId": "faults",
    "Finding": "findings",
    "find": "findings",
    "Guest": "guest",
    "Journal": "journal",
    "LiveGuest": "live",
    "Match": "matching",
    "Blueprint": "scenario",
    "Scenario": "scenario",
    "load": "scenario",
    "loads": "scenario",
    "serve": "server",
    "Stub": "stubs",
    "Host": "threads",
    "ServerThread": "threads",
    "Client": "trio_client",
    "TrioGuest": "trio_guest",
    "in_order": "verification",
    "never": "verification",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'qgasim' has no attribute '{name}'")
    return getattr(import_module(f"qgasim.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
