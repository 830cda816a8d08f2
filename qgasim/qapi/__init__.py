"""QEMU's schema language: how an annotated function becomes a command, and its arguments and results JSON."""

__all__: list[str] = []
