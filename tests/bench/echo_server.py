"""The least that a trio server on a unix socket can do: send back a fixed line for what it reads."""

import os
import socket
import sys

import trio

REPLY = b'{"return": {}}\n'


async def serve(path: str) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen(1)
    sock.setblocking(False)
    listener = trio.socket.from_stdlib_socket(sock)
    while True:
        connection, _ = await listener.accept()
        with connection:
            while data := await connection.recv(65536):
                await connection.send(REPLY * data.count(b"\n"))


if __name__ == "__main__":
    path = sys.argv[1]
    if os.path.exists(path):
        os.unlink(path)
    trio.run(serve, path)
