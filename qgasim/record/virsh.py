"""A real agent whose channel libvirt holds: asked by ``virsh qemu-agent-command``."""

import json
import math
import re
import shutil
import subprocess
from typing import Any, Final

from qgasim.client.blocking import parse
from qgasim.errors import ClientError
from qgasim.record.survey import Ask

__all__ = ["ask_by_virsh"]

#: What libvirt says of an error reply (src/qemu/qemu_agent.c, qemuAgentCheckError()): its text, but not its class.
_REFUSED: Final = re.compile(r"unable to execute QEMU agent command '[^']*': (.*)", re.DOTALL)


def ask_by_virsh(domain: str, timeout: float) -> Ask:
    """Return the function that asks the agent of a libvirt domain.

    virsh finds libvirt as it always does, by ``LIBVIRT_DEFAULT_URI`` among others.

    Args:
        domain: its name, number or UUID.
        timeout: seconds to wait for each answer.

    Raises:
        ClientError: there is no virsh.
    """
    program = shutil.which("virsh")
    if program is None:
        raise ClientError("virsh is not installed")
    if domain.startswith("-"):
        raise ClientError(f"not the name of a domain: {domain!r}")

    def ask(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        words = [
            "qemu-agent-command",
            domain,
            json.dumps(request),
            "--timeout",
            str(math.ceil(timeout)),
        ]
        try:
            done = subprocess.run(
                [program, "--quiet", *words],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                # libvirt waits for the agent, so virsh is given a little longer.
                timeout=timeout + 5,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClientError(
                f"{domain}: virsh has not answered within {timeout + 5:g} s"
            ) from None
        return _read(domain, done)

    return ask


def _read(domain: str, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    if done.returncode == 0:
        reply = parse(done.stdout)
        if not reply:
            raise ClientError(f"{domain}: not a reply: {done.stdout[:80]!r}")
        return reply
    said = done.stderr.decode("utf-8", "replace").strip()
    refused = _REFUSED.search(said)
    if refused is not None:
        return {"error": {"desc": refused[1]}}
    # The first line is the last that went wrong.
    raise ClientError(f"{domain}: {said.partition(chr(10))[0].removeprefix('error: ')}")
