"""The trio driver: a channel served at an address. What is served is the channel's business.

`Server` brings three parts together. An endpoint is where clients come from (`accepting`, `stdio`; the
interface is `endpoint`); a `conversation` serves one client; `attention` is when to look at the channel
though no client has sent anything.
"""

import socket
from collections.abc import Iterable
from typing import Final

import trio

from qgasim.serving.accepting import Listener
from qgasim.serving.attention import Attention
from qgasim.serving.conversation import Conversation
from qgasim.serving.endpoint import Endpoint
from qgasim.serving.listen import (
    Address,
    InheritedSocket,
    SocketAddress,
    Stdio,
    UnixAddress,
    name_address,
)
from qgasim.serving.monitoring import MonitorServer
from qgasim.serving.sockets import Watcher, has_hung_up, is_of_this_process, peer
from qgasim.serving.stdio import StdioEndpoint
from qgasim.simulation.simulation import Simulation

__all__ = ["Server", "qmp_beside", "serve"]


def qmp_beside(simulation: Simulation, path: str) -> list[SocketAddress]:
    """Return where a test finds the monitor of a machine, if the scenario has one: beside the agent's socket."""
    return [] if simulation.hypervisor is None else [UnixAddress(f"{path}.qmp")]


#: How long one look at a guest may keep the thread from the other guests in it, in ns: with twenty that
#: loop for ever, an idle one answers within a tenth of a second.
LOOK_TIME: Final = 1_000_000


class Server:
    """Serves a simulation.

    Args:
        simulation: what is served.
        address: where; a text is the path of a unix socket. Other places can be given as an endpoint.
        watcher: is told what is read from clients.
        qmp: where the machine's monitors are, one at each address.
    """

    def __init__(
        self,
        simulation: Simulation,
        address: Address | Endpoint | str,
        watcher: Watcher | None = None,
        *,
        qmp: Iterable[SocketAddress] = (),
    ) -> None:
        self.simulation = simulation
        self.channel = simulation.channel
        simulation.guest.look_time = LOOK_TIME
        processes = simulation.guest.processes
        self.attention = Attention(self.channel.next_look, lambda: processes.is_late)
        self._monitors = [MonitorServer(simulation, each) for each in qmp]
        hypervisor = simulation.hypervisor
        if hypervisor is not None:
            hypervisor.on_change = self.poke
            hypervisor.agent_address = name_address(address)
        self._endpoint = _endpoint_at(address)
        self._watcher = watcher
        self._conversation: Conversation | None = None
        #: Whether observers are told of clients that wait.
        self.tells_waiting = False

    @property
    def address(self) -> Address:
        """Where clients connect."""
        address = self._endpoint.address
        assert isinstance(address, Address)
        return address.where if isinstance(address, InheritedSocket) else address

    @property
    def is_connected(self) -> bool:
        """Return whether a client is being served."""
        return self._conversation is not None

    @property
    def is_being_left(self) -> bool:
        """Return whether the client has hung up, and that is still to be noticed."""
        return self._conversation is not None and has_hung_up(self._conversation.sock)

    def last_clients(self) -> list[str]:
        """Name the clients that are connected, or wait for it, and have not hung up.

        Those that wait are let in and hung up on: it is for the end.
        """
        socks = [] if self._conversation is None else [self._conversation.sock]
        waiting = self._endpoint.accept_waiting()
        left = [self._name_client(sock) for sock in [*socks, *waiting] if not has_hung_up(sock)]
        for sock in waiting:
            sock.close()
        return left

    def _name_client(self, sock: socket.socket) -> str:
        if not isinstance(self._endpoint.address, UnixAddress):
            return "a client"
        if is_of_this_process(sock):
            return "a client of this process"
        return f"process {peer(sock)}"

    def listen(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: the address cannot be listened on.
        """
        try:
            self._endpoint.open()
            for monitor in self._monitors:
                monitor.listen()
        except BaseException:
            self.close()
            raise

    @property
    def qmp_addresses(self) -> list[SocketAddress]:
        """Where the clients of the machine's monitors connect."""
        return [monitor.address for monitor in self._monitors]

    async def serve(self) -> None:
        """Serve until cancelled; the socket's file is removed at the end."""
        companion = self.simulation.companion
        try:
            if not self._monitors and companion is None:
                await self._endpoint.serve(self)
                return
            async with trio.open_nursery() as nursery:
                for monitor in self._monitors:
                    nursery.start_soon(monitor.serve)
                if companion is not None:
                    nursery.start_soon(companion.serve, self.poke)
                await self._endpoint.serve(self)
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    def close(self) -> None:
        """Hang up, and let no client connect any more; `serve` is to be cancelled first."""
        if self._conversation is not None:
            self._conversation.sock.close()
        self._endpoint.close()
        for monitor in self._monitors:
            monitor.close()

    def poke(self) -> None:
        """Look at the channel again: something in the guest was changed."""
        self.attention.poke()
        for monitor in self._monitors:
            monitor.poke()

    async def converse(self, sock: socket.socket, *, is_stream: bool = False) -> None:
        """Serve one client until it leaves or is hung up on: see `Driver.converse`."""
        self._conversation = Conversation(
            self.channel, sock, self.attention, is_stream=is_stream, watcher=self._watcher
        )
        if not self.tells_waiting:
            await self._run(self._conversation)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_waiting)
            try:
                await self._run(self._conversation)
            finally:
                nursery.cancel_scope.cancel()

    async def _run(self, conversation: Conversation) -> None:
        try:
            await conversation.run()
        except Exception as error:  # noqa: BLE001
            self.fail("what a client sent", error)
        finally:
            self._conversation = None

    async def _tell_waiting(self) -> None:
        """Notify observers when another client waits."""
        await self._endpoint.until_client_waits()
        for observer in self.simulation.agent.observers:
            observer.client_waits()

    def fail(self, what: str, error: Exception) -> None:
        """Note an error that was caught nowhere else, and go on: the client is hung up on."""
        self.simulation.agent.fail(what, error)


def _endpoint_at(address: Address | Endpoint | str) -> Endpoint:
    if isinstance(address, str):
        return Listener(UnixAddress(address))
    if isinstance(address, Stdio):
        return StdioEndpoint()
    return Listener(address) if isinstance(address, Address) else address


async def serve(
    simulation: Simulation,
    address: Address | str,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve *simulation* until cancelled.

    Args:
        simulation: what `Scenario.build` made.
        address: where; a text is the path of a unix socket, whose file is made with mode 0600 and
            removed at the end.
        task_status: for `nursery.start`, which then returns the `Server`.

    Raises:
        ListenError: the address cannot be listened on.
    """
    server = Server(simulation, address)
    server.listen()
    task_status.started(server)
    await server.serve()
