"""The guest's devices: processors, memory, disks, network interfaces, and the routes that follow from them."""

__all__: list[str] = []
