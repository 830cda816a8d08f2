"""The guest's processes: what runs, when, and which file is which program."""

__all__: list[str] = []
