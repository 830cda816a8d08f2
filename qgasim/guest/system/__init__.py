"""The guest's operating system: accounts, clocks, power, and what is Windows about one."""

__all__: list[str] = []
