"""A client that an agent cannot surprise: `qgasim drill --all -- python examples/careful_client.py {socket}`.

It checks a guest's health, and takes a backup of it: guest-info, the addresses, freeze, copy, thaw. The status is
0 if all was done, and 1 with a line on what was not.
"""

import json
import os
import socket
import sys
from time import monotonic, sleep


class AgentError(Exception):
    """The agent refused: nothing was done."""


class Silence(Exception):
    """No answer came in time, or none that can be read: what was asked for may have been done."""


class CarefulClient:
    """Synchronises first, and after every answer that it did not get."""

    def __init__(self, path: str, timeout: float = 2.0) -> None:
        self.path = path
        self.timeout = timeout
        self.socket: socket.socket | None = None
        self.buffer = b""

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def connect(self, tries: int = 3) -> None:
        """Connect and synchronise; try again a few times with a new connection, later each time."""
        for left in reversed(range(tries)):
            try:
                self.close()
                self.socket, self.buffer = socket.socket(socket.AF_UNIX), b""
                self.socket.settimeout(self.timeout)
                self.socket.connect(self.path)
                self.synchronise()
            except (OSError, Silence) as error:
                self.close()
                if not left:
                    raise Silence(f"no agent: {error}") from None
                sleep(0.1 * (tries - left))
            else:
                return

    def synchronise(self, then: str = "") -> None:
        """End half a request that was left by the byte 0xFF; drop all up to the reply with our number.

        *then* is sent at once: the agent gets it even if no answer comes.
        """
        number = int.from_bytes(os.urandom(6), "big")
        self.send("guest-sync-delimited", {"id": number}, b"\xff")
        if then:
            self.send(then, {})
        until = monotonic() + self.timeout
        while True:
            line = self.read_line(until).rpartition(b"\xff")[2]
            try:
                if json.loads(line)["return"] == number:
                    return
            except (ValueError, KeyError, TypeError):
                continue  # the answer to an earlier request

    def call(self, command: str, timeout: float | None = None) -> object:
        """Return what a command returns."""
        if self.socket is None:
            self.connect()
        try:
            self.send(command, {})
            line = self.read_line(monotonic() + (timeout or self.timeout))
        except (OSError, Silence) as error:
            # The reply may still come: the next command needs a new connection, and synchronises.
            self.close()
            raise Silence(f"{command}: {error}") from None
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if isinstance(reply, dict) and "return" in reply:
            return reply["return"]
        shown = f"{command}: {line[:200].decode(errors='replace').strip()}"
        if isinstance(reply, dict) and "error" in reply:
            raise AgentError(shown)
        self.close()
        raise Silence(shown)

    def query(self, command: str) -> object:
        """Return what a command returns that changes nothing: it can be asked for again."""
        for left in (2, 1, 0):
            try:
                return self.call(command)
            except Silence:
                if not left:
                    raise
        raise AssertionError

    def send(self, command: str, arguments: dict[str, int], start: bytes = b"") -> None:
        assert self.socket is not None
        request = json.dumps({"execute": command, "arguments": arguments})
        # A newline: Apple's agent reads no request without.
        self.socket.sendall(start + request.encode() + b"\n")

    def read_line(self, until: float) -> bytes:
        assert self.socket is not None
        while b"\n" not in self.buffer:
            left = until - monotonic()
            if left <= 0:
                raise Silence("no answer in time")
            self.socket.settimeout(left)
            data = self.socket.recv(1 << 16)
            if not data:
                raise Silence("the agent hung up")
            self.buffer += data
            if len(self.buffer) > 64 << 20:
                raise Silence("the answer is too long")
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def enabled(self) -> set[str]:
        """Return the commands that this agent has and does not refuse."""
        info = self.query("guest-info")
        listed = info.get("supported_commands") if isinstance(info, dict) else None
        if not isinstance(listed, list):
            raise AgentError(f"guest-info: unknown shape: {str(info)[:80]}")
        return {each["name"] for each in listed if each.get("enabled", True)}

    def addresses(self) -> list[str]:
        """Return the addresses of all interfaces; an interface without any has no list of them."""
        nics = self.query("guest-network-get-interfaces")
        found = [
            address.get("ip-address", "").partition("%")[0]
            for nic in (nics if isinstance(nics, list) else [])
            for address in nic.get("ip-addresses") or []
        ]
        return [address for address in found if address]

    def backup(self, copy: object) -> str:
        """Call *copy* while file systems are frozen; thaw whatever happens. Return how it went."""
        assert callable(copy)
        if self.query("guest-fsfreeze-status") == "frozen":
            self.thaw()  # what an earlier backup has left
        try:
            self.call("guest-fsfreeze-freeze", 2 * self.timeout)
        except AgentError as error:
            copy()
            return f"copied without freezing ({error})"
        except Silence:
            self.thaw_blindly()  # it may have frozen all the same
            raise
        try:
            copy()
        finally:
            self.thaw()
        return "copied"

    def thaw_blindly(self) -> None:
        """Leave a thaw in the channel: an agent that is late does it when it gets to it."""
        try:
            self.socket, self.buffer = socket.socket(socket.AF_UNIX), b""
            self.socket.settimeout(self.timeout)
            self.socket.connect(self.path)
            self.synchronise("guest-fsfreeze-thaw")
            self.read_line(monotonic() + self.timeout)
        except (OSError, Silence):
            pass  # the freeze has failed, which is said
        finally:
            self.close()

    def thaw(self) -> None:
        """Thaw; an error counts only if file systems are frozen afterwards."""
        try:
            self.call("guest-fsfreeze-thaw", 2 * self.timeout)
        except AgentError:
            if self.query("guest-fsfreeze-status") == "frozen":
                raise


def main(path: str, timeout: float) -> int:
    client = CarefulClient(path, timeout)
    try:
        client.connect()
        enabled = client.enabled()
        if "guest-network-get-interfaces" in enabled:
            try:
                print("addresses:", ", ".join(client.addresses()) or "none")
            except AgentError as error:
                print("addresses: unknown:", error)
        freezes = {"guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-status"}
        print("backup:", client.backup(lambda: None) if freezes <= enabled else "copied unfrozen")
    except (AgentError, Silence) as error:
        print(f"not done: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 2.0))
