"""The guest's files: inodes, paths, open files, pipes, and what the kernel shows in /proc and /sys."""

__all__: list[str] = []
