"""A machine's monitor, served at an address: one client at a time, the others wait in the kernel's backlog.

Unlike an agent, a monitor writes when it likes, and goes on reading when its client does not: so a client
has a task that reads, one that writes, and one for what is due.
"""

import socket
from contextlib import suppress

import trio

from qgasim.qmp import Monitor
from qgasim.serving.accepting import Listener
from qgasim.serving.attention import Attention
from qgasim.serving.listen import SocketAddress, name_address
from qgasim.serving.sockets import RECEIVE_SIZE
from qgasim.simulation.simulation import Simulation

__all__ = ["MonitorServer"]


class MonitorServer:
    """Serves a monitor.

    Args:
        simulation: whose machine's; it gets one more monitor.
        address: where.
        label: the id of its character device, if it has a name of its own.
    """

    def __init__(
        self, simulation: Simulation, address: SocketAddress, label: str | None = None
    ) -> None:
        self.channel: Monitor = simulation.add_monitor(name_address(address), label)
        self.channel.on_output = self.poke
        self.attention = Attention(self.channel.next_look)
        self._agent = simulation.agent
        self._listener = Listener(address)
        self._has_output = trio.Event()
        self._has_room = trio.Event()
        #: Whether the task that writes is at work, and what it is to send first.
        self._is_sending = False
        self._unsent = b""
        self._is_idle = trio.Event()
        self._is_idle.set()

    @property
    def address(self) -> SocketAddress:
        """Where clients connect; of a TCP port 0, which port it became."""
        return self._listener.address

    def listen(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: the address cannot be listened on.
        """
        self._listener.open()
        self.channel.address = name_address(self.address)

    def close(self) -> None:
        """Let no client connect any more; a unix socket's file is removed."""
        self._listener.close()

    async def serve(self) -> None:
        """Serve one client after the other, until cancelled."""
        await self._listener.serve(self)

    async def wait_for_end(self) -> None:
        """Wait until there is no client: it has all that was to be sent, if it was hung up on."""
        await self._is_idle.wait()

    def poke(self) -> None:
        """Look at the monitor: it has something to send, or to do later."""
        self._has_output.set()
        self.attention.poke()

    async def converse(self, sock: socket.socket, *, is_stream: bool = False) -> None:  # noqa: ARG002
        """Serve one client until it leaves or QEMU ends."""
        self.channel.connect()
        self._is_sending, self._unsent = False, b""
        self._has_output.set()
        self._is_idle = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, sock, nursery.cancel_scope)
                nursery.start_soon(self._keep_time)
                await self._read(sock)
                # What was asked before the client stopped sending is answered.
                self.channel.has_hung_up = True
                self._has_output.set()
        except* OSError:
            pass
        except* Exception as group:  # noqa: BLE001
            self.fail("what a client of the monitor sent", group.exceptions[0])
        finally:
            self.channel.lose_client()
            self._is_idle.set()

    async def _read(self, sock: socket.socket) -> None:
        """Read requests until the client stops sending."""
        monitor = self.channel
        while not monitor.has_hung_up:
            if monitor.is_full:
                self._has_room = trio.Event()
                await self._has_room.wait()
                continue
            try:
                data = sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            if not data:
                return
            monitor.receive(data)
            if self._is_sending or self._unsent:
                self._has_output.set()
            else:
                # Sooner than to wake the task that writes.
                self._send_now(sock)
            await trio.lowlevel.checkpoint()
        await trio.sleep_forever()

    def _send_now(self, sock: socket.socket) -> None:
        """Send what the monitor has to say, if the client takes it; leave the rest to `_write`."""
        data = self.channel.take_output()
        try:
            sent = sock.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]
        if self._unsent or self.channel.has_hung_up:
            self._has_output.set()

    async def _write(self, sock: socket.socket, scope: trio.CancelScope) -> None:
        """Send what the monitor has to say, and hang up when it does."""
        monitor = self.channel
        while True:
            await self._has_output.wait()
            self._has_output = trio.Event()
            self._is_sending = True
            data = memoryview(self._unsent + monitor.take_output())
            self._unsent = b""
            while data:
                try:
                    data = data[sock.send(data) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(sock)
            self._is_sending = False
            self._has_room.set()
            if monitor.has_hung_up and not monitor.has_output:
                scope.cancel()
                return

    async def _keep_time(self) -> None:
        """Let the guest and the machine do what is due."""
        while True:
            await self.attention.wait(trio.sleep_forever)
            self.channel.wake_alone()

    def fail(self, what: str, error: Exception) -> None:
        """Note an error of qgasim that was caught nowhere else."""
        with suppress(Exception):
            self._agent.fail(what, error)
