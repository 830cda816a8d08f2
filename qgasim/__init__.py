"""A simulated QEMU guest agent for developers of hypervisor tools.

What most users need is here; a name's module is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qgasim.agent import Agent
    from qgasim.client import SyncClient
    from qgasim.errors import ClientError, QgaSimError, ScenarioError, VerificationError
    from qgasim.guest import Guest
    from qgasim.journal import Journal
    from qgasim.live import LiveGuest
    from qgasim.scenario import Scenario, load, loads
    from qgasim.server import serve
    from qgasim.threads import Host, ServerThread
    from qgasim.trio_client import Client
    from qgasim.verification import in_order, never, verify

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Client",
    "ClientError",
    "Guest",
    "Host",
    "Journal",
    "LiveGuest",
    "QgaSimError",
    "Scenario",
    "ScenarioError",
    "ServerThread",
    "SyncClient",
    "VerificationError",
    "in_order",
    "load",
    "loads",
    "never",
    "serve",
    "verify",
]

_MODULES: Final = {
    "Agent": "agent",
    "Client": "trio_client",
    "ClientError": "errors",
    "Guest": "guest",
    "Host": "threads",
    "Journal": "journal",
    "LiveGuest": "live",
    "QgaSimError": "errors",
    "Scenario": "scenario",
    "ScenarioError": "errors",
    "ServerThread": "threads",
    "SyncClient": "client",
    "VerificationError": "errors",
    "in_order": "verification",
    "load": "scenario",
    "loads": "scenario",
    "never": "verification",
    "serve": "server",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'qgasim' has no attribute '{name}'")
    return getattr(import_module(f"qgasim.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
