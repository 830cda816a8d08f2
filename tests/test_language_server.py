"""What editors offer and show in a scenario: the language server of YAML is asked, as they do."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from qgasim.commands import ALL_COMMANDS
from qgasim.faults import AnyFault
from qgasim.scenario import library
from qgasim.simulation.timeline import AnyEvent
from tests.command_line import ROOT

INSTALLED = ROOT / ".venv" / "npm" / "node_modules" / ".bin" / "yaml-language-server"
SERVER = str(INSTALLED) if INSTALLED.exists() else shutil.which("yaml-language-server")
SCHEMA = ROOT / "qgasim" / "scenario.schema.json"
COMMANDS = {command.name for command in ALL_COMMANDS}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SERVER is None, reason="no yaml-language-server (make language-server)"),
]


class Server:
    """The Language Server Protocol over a pipe."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._count = 0
        self.ask(
            "initialize",
            processId=None,
            rootUri=None,
            capabilities={
                "workspace": {"configuration": True},
                "textDocument": {"hover": {"contentFormat": ["markdown"]}},
            },
        )
        self._send({"method": "initialized", "params": {}})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        size = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        message: dict[str, Any] = json.loads(self._process.stdout.read(size))
        return message

    def ask(self, method: str, **parameters: Any) -> Any:
        """Ask something; answer meanwhile what the server asks."""
        self._count += 1
        self._send({"id": self._count, "method": method, "params": parameters})
        while True:
            message = self._read()
            if "id" in message and "method" in message:
                wanted = message.get("params", {}).get("items", [])
                settings = {"completion": True, "hover": True, "schemaStore": {"enable": False}}
                self._send({"id": message["id"], "result": [settings, *[{}] * (len(wanted) - 1)]})
            elif message.get("id") == self._count:
                return message["result"]

    def at(self, method: str, text: str) -> Any:
        """Ask about the place of a ``|`` in a scenario."""
        text = f"# yaml-language-server: $schema={SCHEMA.as_uri()}\n{text}"
        before, _, after = text.partition("|")
        uri = f"file:///{self._count}.yaml"
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": before + after}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        place = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
        return self.ask(f"textDocument/{method}", textDocument={"uri": uri}, position=place)

    def offers(self, text: str) -> set[str]:
        return {item["label"] for item in self.at("completion", text)["items"]}

    def shows(self, text: str) -> str:
        return str(self.at("hover", text)["contents"]["value"])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen(
        [str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Server(process)
        process.kill()


def tags(union: Any) -> set[str]:
    return {cls.__struct_config__.tag for cls in get_args(union)}


def test_an_editor_offers_every_name(server: Server) -> None:
    assert server.offers("qgasim: 1\nextends: |\n") >= {*library()}
    assert server.offers("qgasim: 1\nfaults:\n  - kind: |\n") == tags(AnyFault)
    assert server.offers("qgasim: 1\ntimeline:\n  - do: |\n") == tags(AnyEvent)
    for place in (
        "faults:\n  - kind: hang\n    on: |\n",
        "timeline:\n  - do: reboot\n    after: |\n",
        "replies:\n  - on: |\n",
        "agent:\n  block_rpcs: [|]\n",
        "agent:\n  +allow_rpcs:\n    - |\n",
    ):
        assert server.offers(f"qgasim: 1\n{place}") >= COMMANDS
    assert "latest" in server.offers("qgasim: 1\nagent:\n  release: |\n")


def test_an_editor_shows_markdown(server: Server) -> None:
    shown = server.shows("qgasim: 1\nagent:\n  rel|ease: latest\n")
    assert "`7.2`, a full version such as `7.2.22`, or `latest`." in shown
    shown = server.shows("qgasim: 1\nfaults:\n  - kind: ha|ng\n")
    assert "The agent hangs: the command does not run" in shown
