"""Commands that qgasim tells a user to type: they can be typed as they are printed."""

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgasim.serving.listen import Address

__all__ = ["hint", "ways_in"]


def hint(*words: str) -> str:
    """Return a command line of qgasim, to be typed where this process was started."""
    return " ".join([_name(), *map(shlex.quote, words)])


def _name() -> str:
    """Return what has to be typed for qgasim: its name only if the user's PATH leads to this installation."""
    started_as = sys.argv[0]
    beside = os.path.join(os.path.dirname(sys.executable), "qgasim")
    found = shutil.which("qgasim")
    if found is not None:
        for program in (started_as, beside):
            if os.path.exists(program) and os.path.samefile(found, program):
                return "qgasim"
    if os.path.basename(started_as) == "qgasim" and os.access(started_as, os.X_OK):
        return shlex.quote(started_as)
    return f"{shlex.quote(sys.executable)} -m qgasim"


def ways_in(address: "Address") -> list[str]:
    """Return the lines that say how to try an agent; none where no client can connect by an address."""
    from qgasim.serving.listen import Stdio, TcpAddress, UnixAddress

    if isinstance(address, Stdio):
        return []
    where = str(address)
    if isinstance(address, TcpAddress) and address.host in ("0.0.0.0", "::"):  # noqa: S104
        where = f"tcp:{address.port}"
    elif isinstance(address, UnixAddress) and where.startswith(("unix:", "tcp:", "vsock:", "-")):
        where = f"unix:{where}"
    elif where.startswith("vsock:-1:"):
        # VMADDR_CID_LOCAL of vsock(7): this machine itself.
        where = f"vsock:1:{where.removeprefix('vsock:-1:')}"
    return [f"try: {hint('call', where, 'guest-info')}", f"or:  {hint('shell', where)}"]
