"""Programs that run others: env, and the shell, under all names that scripts call it by."""

from qgasim.guest.processes.process import Process, Steps
from qgasim.userland.programs.getopt import parse
from qgasim.userland.programs.messages import (
    complain,
    explain,
    fail,
    is_busybox,
    pick,
    quote,
    quote_text,
)
from qgasim.userland.programs.registry import program
from qgasim.userland.shell import run_shell

__all__: list[str] = []


def _become(p: Process, words: list[str]) -> Steps:
    """Become another program, or say that it can't be run."""
    try:
        steps = p.replace(words)
    except OSError as error:
        what = pick(p, f"can't execute '{words[0]}'", quote(words[0]))
        yield from complain(p, f"{what}: {explain(error)}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    return (yield from steps)


@program("env")
def env(p: Process) -> Steps:
    """Run a program with another environment, or print it."""
    arguments = ["-i" if a == "-" and i == 0 else a for i, a in enumerate(p.argv[1:])]
    long = {"ignore-environment": "i", "unset": "u"}
    options = yield from parse(p, "iu:", long, in_order=True, arguments=arguments)
    items = [] if "i" in options else list(p.env)
    for name in options.all("u"):
        if (not name or "=" in name) and not is_busybox(p):
            yield from fail(p, f"cannot unset {quote_text(name)}: Invalid argument")
        items = [item for item in items if not item.startswith(name + "=")]
    words = options.operands
    while words and "=" in words[0]:
        word = words.pop(0)
        name = word.partition("=")[0] + "="
        at = next((i for i, item in enumerate(items) if item.startswith(name)), len(items))
        items[at : at + 1] = [word]
    if not words:
        yield from p.write(1, "".join(item + "\n" for item in items))
        return 0
    p.env = items
    return (yield from _become(p, words))


@program("sh", "bash")
def sh(p: Process) -> Steps:
    """Run commands: see `qgasim.userland.shell`."""
    return (yield from run_shell(p))
