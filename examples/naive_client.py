"""A client as they are often written first. Its mistakes have been made in the field."""

import json
import socket
import sys
import time
from typing import Any


class NaiveClient:
    """Asks an agent, and takes the next line for the answer."""

    def __init__(self, path: str, timeout: float = 1.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def call(self, command: str, **arguments: Any) -> Any:
        """Mistake: no synchronisation, neither at first nor after a time-out."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        return json.loads(self.file.readline())["return"]

    def addresses(self) -> list[str]:
        """Mistake: every interface is taken to have addresses."""
        return [
            address["ip-address"]
            for nic in self.call("guest-network-get-interfaces")
            for address in nic["ip-addresses"]
        ]

    def backup(self, copy: Any) -> None:
        """Mistake: if *copy* fails, the guest is never thawed."""
        self.call("guest-fsfreeze-freeze")
        copy()
        self.call("guest-fsfreeze-thaw")

    def run(self, path: str, *args: str) -> int:
        """Mistake: asks as fast as it can, for ever, and a signal is no exit code."""
        pid = self.call("guest-exec", path=path, arg=list(args))["pid"]
        while True:
            status = self.call("guest-exec-status", pid=pid)
            if status["exited"]:
                return int(status["exitcode"])
            time.sleep(0.001)


if __name__ == "__main__":
    client = NaiveClient(sys.argv[1], *map(float, sys.argv[2:]))
    print(client.addresses())
    client.backup(lambda: None)
    print(client.run("true"))
