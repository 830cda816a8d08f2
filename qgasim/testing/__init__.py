"""A simulation as a test takes hold of it. Knows no pytest."""

__all__: list[str] = []
