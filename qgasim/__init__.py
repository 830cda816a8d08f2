"""A simulated QEMU guest agent for developers of hypervisor tools."""

__version__ = "0.1.0"
