"""Server-sent events, as browsers' ``EventSource`` reads them."""

__all__ = ["COMMENT", "write_event"]

#: Keeps a connection busy on which nothing happens.
COMMENT = b":\n\n"


def write_event(kind: str, data: bytes, number: str = "") -> bytes:
    """Write an event: its kind, JSON in one line, and the number by which a client goes on after it."""
    start = f"id: {number}\nevent: {kind}\n" if number else f"event: {kind}\n"
    return b"%b" % start.encode() + b"data: " + data + b"\n\n"
