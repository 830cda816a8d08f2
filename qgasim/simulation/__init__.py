"""A guest, its agent and all that happens between them and a client."""

__all__: list[str] = []
