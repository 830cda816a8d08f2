"""Sockets and waiting: a simulation served with trio, in this thread, another or a process of its own."""

__all__: list[str] = []
