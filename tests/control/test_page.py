"""The page in a browser: Chromium, as the distribution has it, steered by Playwright."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qgasim.http.access import Access
from qgasim.serving.listen import TcpAddress
from tests.controlling import Api, controlled
from tests.serving import read_line

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]
PING = b'{"execute":"guest-ping"}\n'
SIZES = [(1440, 900, "light"), (1440, 900, "dark"), (1000, 900, "light"), (320, 900, "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        # The tests may run as root: Chromium has no sandbox then.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watching(
    browser: Any, tmp_path: Path, *scenarios: str, **how: Any
) -> Iterator[tuple[Any, Api]]:
    """Open the page of some guests; what the page complains of is raised at the end."""
    access = Access(TcpAddress("127.0.0.1", 0))
    with controlled(tmp_path, *scenarios, access=access) as api:
        page = browser.new_page(**how)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda each: complaints.append(each.text) if each.type == "error" else 0)
        page.goto(f"http://127.0.0.1:{api.connection.port}/")
        page.locator("#link.live").wait_for()
        page.locator("#facts table").first.wait_for()
        yield page, api
        page.close()
    # A refusal is shown, and Chromium logs it besides.
    assert [text for text in complaints if "422" not in text] == []


def ask(api: Api, *requests: bytes) -> list[bytes]:
    address = api.get("/guests/guest")["address"].removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        replies: list[bytes] = []
        for request in requests:
            sock.sendall(request)
            replies.append(read_line(sock))
    return replies


def command(name: str) -> bytes:
    return b'{"execute":"%s"}\n' % name.encode()


def test_what_clients_ask_is_shown_as_it_comes(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        assert page.locator("#empty").is_visible()
        ask(api, PING, command("guest-fsfreeze-freeze"), command("nonsense"))
        page.locator("#journal .command", has_text="guest-fsfreeze-freeze").wait_for()
        page.locator("#journal .badge.cold", has_text="frozen").wait_for()
        page.locator("#journal li.is-error", has_text="nonsense").wait_for()
        page.locator("#state", has_text="frozen").wait_for()
        page.locator("#facts td", has_text="frozen").first.wait_for()
        page.locator("#timeline-text", has_text="frozen from").wait_for()
        page.locator("#filter").fill("error")
        shown = page.locator("#journal li:not([hidden]) .command").all_text_contents()
        assert shown == ["nonsense"]


def test_the_conversation_and_the_scenario_are_saved(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        ask(api, PING)
        for what, ending, start in (
            ("conversation", "jsonl", '{"meta":'),
            ("scenario", "yaml", ""),
        ):
            with page.expect_download() as saved:
                page.locator(f"[data-save={what}]").click()
            assert saved.value.suggested_filename == f"guest.{ending}"
            assert Path(saved.value.path()).read_text().startswith(start)


def test_a_fault_is_injected_by_a_form(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        page.locator("#palette select[name=kind]").select_option("drop")
        page.locator("#palette input[name=on]").fill("guest-info")
        page.locator("#palette input[value=ever]").check()
        page.locator("#palette button.primary").click()
        page.locator("#faults code", has_text="drop on guest-info").wait_for()
        (fault,) = api.get("/guests/guest/faults")
        assert (fault["fault"]["kind"], fault["fault"]["on"]) == ("drop", "guest-info")
        page.locator("#faults button", has_text="Remove").click()
        page.locator("#faults code").wait_for(state="detached")
        assert api.get("/guests/guest/faults") == []
        page.locator("#palette select[name=kind]").select_option("delay")
        page.locator("#palette input[name=by]").fill("soon")
        page.locator("#palette button.primary").click()
        page.locator("#palette .error", has_text="by").wait_for()


def test_the_clock_is_advanced_and_the_power_switched(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        page.locator("#advance input[name=by]").fill("2h")
        page.locator("#advance button", has_text="Advance").click()
        page.locator("#toast", has_text="advanced by 2h").wait_for()
        assert api.get("/guests/guest/clock")["uptime"] >= 7200
        page.locator("#power button", has_text="Pause").click()
        page.locator("#state", has_text="paused").wait_for()
        page.locator("#power button", has_text="Resume").click()
        page.locator("#state", has_text="up").wait_for()


def test_a_guest_is_created_and_chosen(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        page.keyboard.press("n")
        page.locator("#new-form input[name=name]").fill("web")
        page.locator("#new-form input[name=scenario]").fill("alpine-3.20")
        page.locator("#new-form button.primary").click()
        page.locator("#title", has_text="web").wait_for()
        assert [guest["name"] for guest in api.get("/guests")] == ["guest", "web"]


def test_an_exchange_is_copied_as_a_stub_and_as_a_test(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        ask(api, b'{"execute":"guest-file-open","arguments":{"path":"/none"}}\n')
        page.locator("#journal .entry", has_text="guest-file-open").click()
        page.locator(".detail button", has_text="Copy as test").click()
        page.locator("#toast", has_text="Test copied").wait_for()
        text = page.evaluate("navigator.clipboard.readText()")
        assert 'qga.verify("guest-file-open", arguments={"path":"/none"})' in text
        page.locator(".detail button", has_text="Copy as stub").click()
        page.locator("#toast", has_text="Stub copied").wait_for()
        stub = page.evaluate("navigator.clipboard.readText()")
        made = api.ask(
            "POST /v1/guests",
            f"qgasim: 1\n{stub}".encode(),
            Content_Type="application/yaml",
        )
        assert made.status in {201, 422}, made


def test_the_page_fits_its_window(browser: Any, tmp_path: Path) -> None:
    for width, height, scheme in SIZES:
        how = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
        with watching(browser, tmp_path, **how) as (page, api):
            ask(api, *[PING] * 50, command("guest-network-get-interfaces"))
            page.locator("#journal .command", has_text="guest-network-get-interfaces").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_thousand_entries_are_shown(browser: Any, tmp_path: Path) -> None:
    with watching(browser, tmp_path) as (page, api):
        ask(api, *[PING] * 1000)
        page.locator("#timeline-text", has_text="1000 requests").wait_for()
        assert page.locator("#journal li").count() >= 1000
