"""Small clients that do the handshake of qemu-ga's protocol right."""

__all__: list[str] = []
