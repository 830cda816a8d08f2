"""A simulated QEMU guest agent for developers of hypervisor tools.

The names that most users need. Each is listed once, below, and its module is imported when the name
is first used: a pytest run without a guest pays for none. docs/python.md shows how they fit together,
docs/pytest.md what the plugin adds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qgasim.agent import Agent as Agent
    from qgasim.agent.observer import Observer as Observer
    from qgasim.agent.stubs import Stub as Stub
    from qgasim.client.blocking import SyncClient as SyncClient
    from qgasim.client.trio import Client as Client
    from qgasim.errors import ClientError as ClientError
    from qgasim.errors import LeftBehindWarning as LeftBehindWarning
    from qgasim.errors import ListenError as ListenError
    from qgasim.errors import QgaSimError as QgaSimError
    from qgasim.errors import ScenarioError as ScenarioError
    from qgasim.errors import ServerError as ServerError
    from qgasim.errors import VerificationError as VerificationError
    from qgasim.faults import AcceptThenSilence as AcceptThenSilence
    from qgasim.faults import Bandwidth as Bandwidth
    from qgasim.faults import Bom as Bom
    from qgasim.faults import CloseConnection as CloseConnection
    from qgasim.faults import Corrupt as Corrupt
    from qgasim.faults import Crash as Crash
    from qgasim.faults import Crlf as Crlf
    from qgasim.faults import Delay as Delay
    from qgasim.faults import DelayEvent as DelayEvent
    from qgasim.faults import Drop as Drop
    from qgasim.faults import DropEvent as DropEvent
    from qgasim.faults import Duplicate as Duplicate
    from qgasim.faults import DuplicateEvent as DuplicateEvent
    from qgasim.faults import EarlyEvent as EarlyEvent
    from qgasim.faults import Edit as Edit
    from qgasim.faults import Empty as Empty
    from qgasim.faults import ExtraSentinel as ExtraSentinel
    from qgasim.faults import Fault as Fault
    from qgasim.faults import Garbage as Garbage
    from qgasim.faults import HalfClose as HalfClose
    from qgasim.faults import Hang as Hang
    from qgasim.faults import Huge as Huge
    from qgasim.faults import Ignore as Ignore
    from qgasim.faults import InjectedError as InjectedError
    from qgasim.faults import InvalidUtf8 as InvalidUtf8
    from qgasim.faults import KillOn as KillOn
    from qgasim.faults import Late as Late
    from qgasim.faults import Leak as Leak
    from qgasim.faults import LegalVariation as LegalVariation
    from qgasim.faults import MissingSentinel as MissingSentinel
    from qgasim.faults import NoNewline as NoNewline
    from qgasim.faults import Refuse as Refuse
    from qgasim.faults import Reorder as Reorder
    from qgasim.faults import Reset as Reset
    from qgasim.faults import Split as Split
    from qgasim.faults import Stale as Stale
    from qgasim.faults import Truncate as Truncate
    from qgasim.faults import WrongId as WrongId
    from qgasim.findings import Finding as Finding
    from qgasim.findings import find as find
    from qgasim.guest import Guest as Guest
    from qgasim.matching import Match as Match
    from qgasim.scenario import Blueprint as Blueprint
    from qgasim.scenario import Scenario as Scenario
    from qgasim.scenario import load as load
    from qgasim.scenario import loads as loads
    from qgasim.serving.server import serve as serve
    from qgasim.serving.threads import ServerThread as ServerThread
    from qgasim.serving.threads import ServerThreadPool as ServerThreadPool
    from qgasim.simulation.journal import Journal as Journal
    from qgasim.simulation.simulation import Simulation as Simulation
    from qgasim.testing.live import LiveGuest as LiveGuest
    from qgasim.testing.trio_guest import TrioGuest as TrioGuest
    from qgasim.testing.verification import in_order as in_order
    from qgasim.testing.verification import never as never
    from qgasim.testing.verification import verify as verify

    #: The version of this installation, which the build takes from the tag.
    __version__: str

#: The guest that is meant where none is named.
DEFAULT_SCENARIO: Final = "debian-12"

_modules: dict[str, str] = {}


def _module_of(name: str) -> str | None:
    """Return the module that defines a public name, as the imports above say; None: there is no such name."""
    if not _modules:
        with open(__file__, encoding="utf-8") as source:
            statements = (line.split() for line in source if line.startswith("    from qgasim"))
            _modules.update({statement[3]: statement[1] for statement in statements})
    return _modules.get(name)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Reading it takes longer than `qgasim --help`.
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            found = version("qgasim")
        except PackageNotFoundError:
            found = "0+unknown"
        # It is looked up once.
        return globals().setdefault(name, found)
    if name.startswith("__") or (module := _module_of(name)) is None:
        raise AttributeError(f"module 'qgasim' has no attribute '{name}'")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    _module_of("")
    return sorted([*_modules, "__version__"])
