"""A program run in a guest: started, waited for, its output decoded."""

import base64
import binascii
import time
from collections.abc import Sequence
from typing import Any, Final, cast

from msgspec import Struct

from qgasim.client.blocking import SyncClient
from qgasim.errors import ClientError

__all__ = ["INPUT_LIMIT", "Ended", "run_program"]

#: How much an agent takes as standard input in one request, in bytes: as base64 this is half of the 64 MiB
#: that it reads of one JSON token (MAX_TOKEN_SIZE, qobject/json-lexer.c).
INPUT_LIMIT: Final = 24 << 20
#: How much an agent keeps of each output (GUEST_EXEC_MAX_OUTPUT, qga/commands.c).
OUTPUT_LIMIT: Final = 16 << 20
#: How long to wait before asking again whether a program has ended, in seconds: at first, and at most.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


class Ended(Struct, frozen=True):
    """How a program ended, and what it wrote."""

    #: Its exit status; None if a signal, or on Windows an exception, ended it.
    status: int | None
    #: The number of that signal or exception.
    signal: int | None
    out: bytes
    err: bytes
    #: Whether the agent has kept only the beginning of what it wrote.
    is_cut: bool


def run_program(
    client: SyncClient, path: str, arguments: Sequence[str] = (), stdin: bytes | None = None
) -> Ended:
    """Run a program in the guest, and wait until it has ended, however long that takes.

    Args:
        client: of the guest's agent.
        path: the program; the guest looks for it as its shell would.
        arguments: without the program's own name.
        stdin: what it reads; None: nothing.

    Raises:
        ClientError: the agent refuses, does not answer in time, or hangs up.
    """
    given: dict[str, Any] = {"path": path, "arg": list(arguments), "capture_output": True}
    if stdin is not None:
        given["input_data"] = base64.b64encode(stdin).decode("ascii")
    pid = _member(client.call("guest-exec", **given), "pid", int)
    pause = FIRST_PAUSE
    while True:
        status = client.call("guest-exec-status", pid=pid)
        if _member(status, "exited", bool):
            return _read(cast("dict[str, Any]", status))
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _member(value: Any, name: str, kind: type[int]) -> int:
    """Return a member of an object; raise ClientError if the agent has sent something else."""
    found: object = cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise ClientError(f"not a reply: no '{name}' in {value!r:.80}")
    return found


def _read(status: dict[str, Any]) -> Ended:
    out, err = (_decode(status.get(name)) for name in ("out-data", "err-data"))
    # Some releases tell of it only sometimes.
    is_cut = any(status.get(name) is True for name in ("out-truncated", "err-truncated"))
    signal, code = (
        value if isinstance(value := status.get(name), int) else None
        for name in ("signal", "exitcode")
    )
    return Ended(
        status=code if signal is None else None,
        signal=signal,
        out=out,
        err=err,
        is_cut=is_cut or max(len(out), len(err)) >= OUTPUT_LIMIT,
    )


def _decode(data: object) -> bytes:
    if data is None:
        return b""
    try:
        return base64.b64decode(cast("str", data), validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ClientError(f"not a reply: output that is not base64: {data!r:.80}") from None
