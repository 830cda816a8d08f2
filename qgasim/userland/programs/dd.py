"""The program dd."""

import os
from typing import Final

from qgasim.guest.files.nodes import Regular
from qgasim.guest.files.open_files import OpenFile, PipeEnd
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.guest.units import SECOND
from qgasim.userland.limits import MAX_INT, check_size
from qgasim.userland.programs.getopt import is_known, not_simulated, usage_error
from qgasim.userland.programs.ls import human_busybox
from qgasim.userland.programs.messages import complain, explain, fail, is_busybox, pick, quote
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.truncate import find_size

__all__: list[str] = []

#: Bytes that it copies in a microsecond: 1 GB/s.
_SPEED: Final = 1000
#: A block must have room in the guest's memory.
MAX_BLOCK: Final = 1 << 30
#: Larger blocks are copied in pieces of so many bytes.
PIECE: Final = 1 << 20
_KEYS: Final = frozenset({
    "if", "of", "bs", "ibs", "obs", "count", "skip", "seek", "iseek", "oseek", "conv", "status",
    "iflag", "oflag", "cbs",
})  # fmt: skip
_CONVERSIONS: Final = frozenset({
    "notrunc", "sync", "fsync", "fdatasync", "noerror", "ucase", "lcase", "swab", "excl",
    "nocreat", "sparse",
})  # fmt: skip
#: Of BusyBox 1.35 (dd --help).
_APPLETS_CONVERSIONS: Final = frozenset({"notrunc", "noerror", "sync", "fsync", "swab"})
#: What GNU's knows besides (dd --help, coreutils 9.1).
_KNOWN_CONVERSIONS: Final = frozenset({"ascii", "ebcdic", "ibm", "block", "unblock"})


@program("dd")
def dd(p: Process) -> Steps:
    """Copy blocks."""
    values: dict[str, str] = {}
    for argument in p.argv[1:]:
        key, equals, value = argument.partition("=")
        if argument == "--":
            continue
        if is_known(p, argument):
            yield from not_simulated(p, f"option '{argument}'")
        if not equals or key not in _KEYS or (is_busybox(p) and not is_known(p, f"--{key}")):
            yield from usage_error(
                p, "" if is_busybox(p) else f"unrecognized operand {quote(argument)}"
            )
        values[{"iseek": "skip", "oseek": "seek"}.get(key, key)] = value
    numbers = {"count": -1, "skip": 0, "seek": 0}
    for key in ("bs", "ibs", "obs", "count", "skip", "seek"):
        if key in values:
            number = find_size(values[key].removesuffix("B") if key[-2:] != "bs" else values[key])
            if number is not None and number >= MAX_INT and not is_busybox(p):
                why = "Value too large for defined data type"
                yield from fail(p, f"invalid number: {quote(values[key])}: {why}")
            if number is None or (number == 0 and key.endswith("bs")):
                label = pick(p, f"invalid number '{values[key]}'", "")
                yield from fail(p, label or f"invalid number: {quote(values[key])}")
            else:
                numbers[key] = number
    conversions = set(filter(None, values.get("conv", "").split(",")))
    for name in sorted(() if is_busybox(p) else conversions & _KNOWN_CONVERSIONS):
        yield from not_simulated(p, f"'conv={name}'")
    for name in sorted(conversions - (_APPLETS_CONVERSIONS if is_busybox(p) else _CONVERSIONS)):
        text = f"invalid conversion: {quote(name)}"
        yield from (
            fail(p, f"invalid argument '{name}' to 'conv'")
            if is_busybox(p)
            else usage_error(p, text)
        )
    for key, buffer in (("ibs", "input"), ("obs", "output")):
        size = numbers.get("bs", numbers.get(key, 0))
        if size > MAX_BLOCK:
            # GNU's dd.c, alloc_ibuf(), alloc_obuf(); UNVERIFIED: BusyBox's words (xmalloc's).
            text = f"memory exhausted by {buffer} buffer of size {size} bytes ({_sizes(size)})"
            yield from fail(p, pick(p, "out of memory", text))
    block = numbers.get("bs")
    copy = _Copy(p, values, conversions, numbers)
    copy.input_size = block or numbers.get("ibs", 512)
    copy.output_size = block or numbers.get("obs", 512)
    copy.is_direct = block is not None and not conversions & {"sync", "swab", "ucase", "lcase"}
    return (yield from copy.run())


class _Copy:
    def __init__(
        self, p: Process, values: dict[str, str], conversions: set[str], numbers: dict[str, int]
    ) -> None:
        self.p = p
        self.values = values
        self.conversions = conversions
        self.numbers = numbers
        self.input_size = self.output_size = 512
        #: With ``bs`` alone a block is written as it was read.
        self.is_direct = False
        #: Full and partial blocks.
        self.read_counts = [0, 0]
        self.write_counts = [0, 0]
        self.total = 0
        #: How many of these bytes have taken their time.
        self.timed = 0
        self.pending = b""
        self.started = p.guest.clock.uptime()

    def run(self) -> Steps:
        try:
            source = yield from self._open(self.values.get("if"), os.O_RDONLY)
        except OSError as error:
            return (yield from self._cannot_open(self.values.get("if", ""), error))
        try:
            target = yield from self._open_output()
        except OSError as error:
            source.close()
            return (yield from self._cannot_open(self.values.get("of", ""), error))
        try:
            status = yield from self._copy(source, target)
        finally:
            source.close()
            target.close()
        yield from self._take_time()
        yield from self._report()
        return status

    def _take_time(self) -> Waiting[None]:
        """Let the time pass that the copy takes, so that others run in one without end."""
        count, self.timed = self.total - self.timed, self.total
        yield from self.p.sleep(count * 1000 // _SPEED)

    def _open(self, path: str | None, flags: int) -> Waiting[OpenFile]:
        if path is None:
            file = self.p.descriptor(0 if flags == os.O_RDONLY else 1)
            file.retain()
            return file
        return (yield from self.p.open(path, flags))

    def _cannot_open(self, path: str, error: OSError) -> Waiting[int]:
        text = pick(self.p, f"can't open '{path}'", f"failed to open {quote(path)}")
        yield from complain(self.p, f"{text}: {explain(error)}")
        return 1

    def _open_output(self) -> Waiting[OpenFile]:
        p, path = self.p, self.values.get("of")
        flags = os.O_WRONLY
        keeps = "notrunc" in self.conversions
        seek = self.numbers["seek"]
        if "seek_bytes" not in self.values.get("oflag", ""):
            seek *= self.output_size
        if "nocreat" not in self.conversions:
            flags |= os.O_CREAT
        if "excl" in self.conversions:
            flags |= os.O_EXCL
        if "append" in self.values.get("oflag", ""):
            flags |= os.O_APPEND
        if not keeps and not seek:
            flags |= os.O_TRUNC
        file = yield from self._open(path, flags)
        if seek:
            if path is not None and not keeps and isinstance(file.node, Regular):
                yield from p.call(p.guest.files.truncate, path, seek, p.cwd)
            if path is not None or file.is_regular:
                file.seek(seek, os.SEEK_CUR)
        return file

    def _copy(self, source: OpenFile, target: OpenFile) -> Steps:
        p = self.p
        name = self.values.get("if")
        shown = quote(name) if name is not None else pick(p, "standard input", "'standard input'")
        try:
            yield from self._skip(source, shown)
            count = self.numbers["count"]
            in_bytes = "count_bytes" in self.values.get("iflag", "")
            limit = -1 if count < 0 else count if in_bytes else count * self.input_size
            while limit != 0 and (in_bytes or count != sum(self.read_counts)):
                size = self.input_size if limit < 0 or not in_bytes else min(limit, self.input_size)
                if self.is_direct and size > PIECE and not isinstance(source, PipeEnd):
                    done = yield from self._copy_in_pieces(source, target, size)
                    if done < 0:
                        return 1
                    if not done:
                        break
                    limit -= done if in_bytes else 0
                    continue
                data = yield from self._read(source, size)
                if not data:
                    break
                limit -= len(data) if in_bytes else 0
                self.read_counts[len(data) < self.input_size] += 1
                data = self._convert(data)
                if not (yield from self._write(target, data)):
                    return 1
                if self.total - self.timed >= 1 << 16:
                    yield from self._take_time()
        except OSError as error:
            text = pick(p, shown.strip("'"), f"error reading {shown}")
            yield from complain(p, f"{text}: {explain(error)}")
            return 1
        if self.pending and not (yield from self._write_block(target, self.pending)):
            return 1
        return 0

    def _skip(self, source: OpenFile, shown: str) -> Waiting[None]:
        skip = self.numbers["skip"]
        if "skip_bytes" not in self.values.get("iflag", ""):
            skip *= self.input_size
        if source.is_regular:
            if skip > source.size - source.position and not is_busybox(self.p):
                yield from complain(self.p, f"{shown}: cannot skip to specified offset")
            source.seek(skip, os.SEEK_CUR)
            return
        while skip > 0:
            data = yield from self.p.call(source.read, min(skip, self.input_size))
            if not data:
                break
            skip -= len(data)

    def _read(self, source: OpenFile, size: int) -> Waiting[bytes]:
        data = yield from self.p.call(source.read, size)
        if "fullblock" in self.values.get("iflag", ""):
            while data and len(data) < size:
                more = yield from self.p.call(source.read, size - len(data))
                if not more:
                    break
                data += more
        return data

    def _copy_in_pieces(self, source: OpenFile, target: OpenFile, size: int) -> Steps:
        """Copy a block of *size* bytes that is too large to be held; -1 if it cannot be written."""
        done, wrote, start = 0, self.write_counts, self.total
        while done < size:
            data = yield from self.p.call(source.read, min(PIECE, size - done))
            if not data:
                break
            done += len(data)
            self.write_counts = [0, 0]
            if not (yield from self._write_block(target, data)):
                self.read_counts[done < size] += 1
                self.write_counts = [wrote[0], wrote[1] + (self.total > start)]
                return -1
            yield from self._take_time()
        self.write_counts = wrote
        if done:
            self.read_counts[done < size] += 1
            wrote[done < size] += 1
        return done

    def _convert(self, data: bytes) -> bytes:
        if "sync" in self.conversions:
            check_size(self.input_size)
            data = data.ljust(self.input_size, b"\0")
        if "ucase" in self.conversions:
            data = data.upper()
        if "lcase" in self.conversions:
            data = data.lower()
        if "swab" in self.conversions:
            even = len(data) // 2 * 2
            swapped = bytearray(data)
            swapped[0:even:2], swapped[1:even:2] = data[1:even:2], data[0:even:2]
            data = bytes(swapped)
        return data

    def _write(self, target: OpenFile, data: bytes) -> Waiting[bool]:
        if self.is_direct or (not self.pending and len(data) == self.output_size):
            return (yield from self._write_block(target, data))
        self.pending += data
        while len(self.pending) >= self.output_size:
            block = self.pending[: self.output_size]
            self.pending = self.pending[self.output_size :]
            if not (yield from self._write_block(target, block)):
                return False
        return True

    def _write_block(self, target: OpenFile, data: bytes) -> Waiting[bool]:
        p = self.p
        view = memoryview(data)
        try:
            while view:
                done = yield from p.call(target.write, view)
                self.total += done
                view = view[done:]
        except OSError as error:
            if len(view) < len(data):
                self.write_counts[1] += 1
            name = self.values.get("of", "standard output")
            yield from complain(p, f"error writing {quote(name)}: {explain(error)}")
            return False
        self.write_counts[len(data) < self.output_size] += 1
        return True

    def _report(self) -> Waiting[None]:
        p, how = self.p, self.values.get("status")
        if how == "none":
            return
        (full, part), (out, out_part) = self.read_counts, self.write_counts
        text = f"{full}+{part} records in\n{out}+{out_part} records out\n"
        if how != "noxfer":
            elapsed = max(p.guest.clock.uptime() - self.started, 1000)
            rate = self.total * SECOND // elapsed
            text += pick(p, _busybox_summary, _gnu_summary)(self.total, elapsed, rate)
        yield from p.write(2, text)


def _busybox_summary(total: int, elapsed: int, rate: int) -> str:
    sizes = human_busybox(total), human_busybox(rate)
    return f"{total} bytes ({sizes[0]}B) copied, {elapsed / SECOND:f} seconds, {sizes[1]}B/s\n"


def _gnu_summary(total: int, elapsed: int, rate: int) -> str:
    text = "1 byte" if total == 1 else f"{total} bytes"
    if total >= 1000:
        text += f" ({_sizes(total)})"
    return f"{text} copied, {elapsed / SECOND:g} s, {_scale_rate(rate)}/s\n"


def _sizes(total: int) -> str:
    sizes = [_scale(total, 1000, "kMGTPE", "B")]
    sizes += [_scale(total, 1024, "KMGTPE", "iB")] if total >= 1024 else []
    return ", ".join(sizes)


def _scale_rate(rate: int) -> str:
    # GNU divides by the time in floating point there, which has no unit below kB.
    return _scale(rate, 1000, "kMGTPE", "B") if rate >= 1000 else f"{rate / 1000:.1f} kB"


def _scale(number: int, base: int, letters: str, unit: str) -> str:
    """Write a size as GNU's human_readable does: two digits, rounded to the nearest."""
    if number < base:
        return f"{number} B"
    power = 1
    for letter in letters:
        power *= base
        value = number / power
        if value < 9.95:
            return f"{value:.1f} {letter}{unit}"
        if value < base - 0.5:
            return f"{value:.0f} {letter}{unit}"
    return f"{number / power:.0f} E{unit}"
