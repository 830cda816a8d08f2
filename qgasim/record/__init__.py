"""A real agent recorded: its answers, without what is private in them, as a scenario that answers alike."""

__all__: list[str] = []
