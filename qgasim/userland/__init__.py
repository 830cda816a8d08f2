"""What can run in a guest: programs and a shell. A guest gets them as a mapping."""

__all__: list[str] = []
