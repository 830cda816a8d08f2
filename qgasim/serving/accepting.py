"""A socket that listens, and the clients that it accepts, one at a time.

One client is served at a time, as the real agent and QEMU's character devices do; others wait in the
kernel's backlog. While the channel lets no client connect, nothing listens.
"""

import contextlib
import errno
import os
import socket
import stat
from functools import partial
from typing import Final

import trio

from qgasim.serving.endpoint import ClientDriver
from qgasim.serving.listen import MachineSocket, SocketAddress, TcpAddress, UnixAddress

__all__ = ["SHORTAGES", "SHORTAGE_PAUSE", "Listener"]

#: How long nothing is done after an error of qgasim, in seconds.
FAILURE_PAUSE: Final = 1.0
#: What passes when something else is let go of, and how long is waited for that, in seconds.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SHORTAGE_PAUSE: Final = 0.1
#: Whose files end with their servers.
_REMOVED: Final = (UnixAddress, MachineSocket)


class Listener:
    """Accepts clients at an address: the endpoint of a server for sockets."""

    def __init__(self, address: SocketAddress) -> None:
        self._address = address
        self._sock: socket.socket | None = None
        self._is_closed = False
        #: Whether the host lacked descriptors or memory for the latest client.
        self._is_lacking = False
        #: Identifies the file of a unix socket.
        self._inode: int | None = None

    @property
    def address(self) -> SocketAddress:
        """Where clients connect; of a TCP port 0, which port it became."""
        return self._address

    @property
    def sock(self) -> socket.socket | None:
        """What listens; None: nothing does now."""
        return self._sock

    def open(self) -> None:
        """Let clients connect.

        Raises:
            ListenError: the address cannot be listened on.
        """
        address = self._address
        self._sock = address.listen()
        if isinstance(address, _REMOVED):
            self._inode = os.stat(address.path, follow_symlinks=False).st_ino
        elif isinstance(address, TcpAddress):
            self._address = TcpAddress(address.host, self._sock.getsockname()[1])

    def close(self) -> None:
        """Let no client connect any more; a unix socket's file is removed, but for that of a real agent's kind."""
        self._is_closed = True
        self._close_socket()
        if isinstance(self._address, _REMOVED):
            _remove(self._address.path, self._inode)
            # Another socket may be there from now on, and have the same number.
            self._inode = 0

    def accept_waiting(self) -> list[socket.socket]:
        """Accept the clients that wait, without serving them; the caller closes the sockets."""
        waiting: list[socket.socket] = []
        with contextlib.suppress(OSError):
            while self._sock is not None:
                waiting.append(self._sock.accept()[0])
        return waiting

    async def until_client_waits(self) -> None:
        """Return when a client waits, while another is served."""
        if self._sock is None:
            await trio.sleep_forever()
        else:
            await trio.lowlevel.wait_readable(self._sock)

    async def serve(self, driver: ClientDriver) -> None:
        """Serve one client after the other, until cancelled."""
        while True:
            await self.serve_next(driver)

    async def serve_next(self, driver: ClientDriver) -> None:
        """Serve the next client, or see to the channel while there is none.

        Raises:
            ListenError: the channel lets clients connect again, and the address cannot be listened on.
        """
        channel = driver.channel
        self._close_if_gone(driver)
        if self._is_closed:
            await trio.sleep_forever()
        elif not channel.is_open:
            await driver.attention.wait(trio.sleep_forever)
        elif self._sock is None:
            try:
                # It replaces the socket of before, and no other file that has taken its place.
                self.open()
            except OSError as error:
                await self._lack(driver, error)
        else:
            # At once: a client that was accepted is to be known as the one that is served.
            accept = partial(self._accept, driver, self._sock)
            sock = await driver.attention.wait(accept, in_turn=False)
            if sock is not None:
                await self._serve_client(driver, sock)
                return
        try:
            channel.wake_alone()
        except Exception as error:  # noqa: BLE001
            driver.fail("what was due", error)
            # It may fail each time.
            await trio.sleep(FAILURE_PAUSE)

    async def _serve_client(self, driver: ClientDriver, sock: socket.socket) -> None:
        try:
            await driver.converse(sock)
        except BaseException:
            # Cancelled, as it is or in a group.
            # As when a process ends: its listening socket is the older one, and closed first.
            self._close_socket()
            raise
        finally:
            # An agent that is gone refuses connects by the time its client sees the end.
            self._close_if_gone(driver)
            sock.close()

    def _close_if_gone(self, driver: ClientDriver) -> None:
        """Let connects be refused if the agent was the server, and has ended."""
        if not driver.channel.is_open:
            self._close_socket()

    def _close_socket(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _accept(self, driver: ClientDriver, listener: socket.socket) -> socket.socket:
        has_waited = False
        while True:
            # Before any wait: where the guest is late, there is no time for one.
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                pass
            except OSError as error:
                # Linux wants a free descriptor before it looks whether a client is there.
                if has_waited or error.errno not in SHORTAGES:
                    await self._lack(driver, error)
            else:
                self._is_lacking = False
                sock.setblocking(False)
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    # A reply that is sent in pieces must arrive in pieces.
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            await trio.lowlevel.wait_readable(listener)
            has_waited = True

    async def _lack(self, driver: ClientDriver, error: OSError) -> None:
        """Wait for what the host lacks; raise *error* if that is something else. It is reported once."""
        if error.errno not in SHORTAGES:
            raise error
        if not self._is_lacking:
            self._is_lacking = True
            driver.fail("a connect", error)
        await trio.sleep(SHORTAGE_PAUSE)


def _remove(path: str, inode: int | None) -> None:
    """Remove the socket's file, if it is still the one with this inode."""
    with contextlib.suppress(OSError):
        status = os.stat(path, follow_symlinks=False)
        if status.st_ino == inode and stat.S_ISSOCK(status.st_mode):
            os.unlink(path)
