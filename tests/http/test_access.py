"""Access: hosts, origins and tokens."""

from pathlib import Path

import pytest

from qgasim.errors import QgaSimError
from qgasim.http.access import Access, is_loopback, read_token
from qgasim.http.problems import HttpError
from qgasim.serving.listen import TcpAddress, UnixAddress
from tests.controlling import controlled

UNIX = UnixAddress("/x")
LOOPBACK = TcpAddress("127.0.0.1", 80)
ANYWHERE = TcpAddress("0.0.0.0", 80)
TOKEN = "0123456789abcdef"


def refusal(access: Access, **headers: str) -> int | None:
    """Return the status with which a request is refused; None: it is not."""
    try:
        access.check(headers)
    except HttpError as error:
        return error.status
    return None


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "127.0.0.1", "127.9.9.9:8080", "[::1]", "[::1]:80", "LOCALHOST."]
)  # fmt: skip
def test_a_local_host_is_served(host: str) -> None:
    assert refusal(Access(LOOPBACK), host=host) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[::2]",
     "localhost:80:90", "localhost@evil.example", "0.0.0.0"],
)  # fmt: skip
def test_a_foreign_host_is_refused_over_tcp(host: str) -> None:
    # A name that was made to lead here (DNS rebinding).
    assert refusal(Access(LOOPBACK), host=host) == 403
    assert refusal(Access(LOOPBACK, TOKEN), host=host, authorization=f"Bearer {TOKEN}") == 403
    # No page of a browser gets to a unix socket, and clients write there what they like.
    assert refusal(Access(UNIX), host=host) is None


@pytest.mark.parametrize(
    "access", [Access(UNIX), Access(LOOPBACK), Access(LOOPBACK, TOKEN)], ids=str
)
@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://localhost:81", "localhost:80"]
)
def test_a_foreign_origin_is_refused(access: Access, origin: str) -> None:
    bearer = f"Bearer {TOKEN}"
    assert refusal(access, host="localhost:80", origin=origin, authorization=bearer) == 403
    own = "http://localhost:80"
    assert refusal(access, host="localhost:80", origin=own, authorization=bearer) is None


@pytest.mark.parametrize(
    "given", [None, "", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", f"Bearer {TOKEN[:-1]}", "Bearer \xff"],
)  # fmt: skip
def test_without_the_token_nothing_is_answered(given: str | None) -> None:
    headers = (
        {"host": "localhost"} if given is None else {"host": "localhost", "authorization": given}
    )
    for access in (Access(UNIX, TOKEN), Access(LOOPBACK, TOKEN), Access(ANYWHERE, TOKEN)):
        with pytest.raises(HttpError) as caught:
            access.check(headers)
        assert caught.value.status == 401
        access.check(headers, is_public=True)


def test_with_the_token_others_may_ask_from_anywhere() -> None:
    access = Access(ANYWHERE, TOKEN)
    assert refusal(access, host="lab.example", authorization=f"bearer {TOKEN}") is None


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_other_machines_need_a_token(host: str) -> None:
    with pytest.raises(QgaSimError, match="can be reached from other machines"):
        Access(TcpAddress(host, 0))
    assert not is_loopback(host)


@pytest.mark.parametrize("text", ["", "short", "with a space in it ...", "x" * 15, "äöü" * 9])
def test_a_token_is_one_long_word(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(QgaSimError, match="expected one line of at least 16 characters"):
        read_token(f"{tmp_path}/token")
    with pytest.raises(QgaSimError, match="No such file"):
        read_token(f"{tmp_path}/missing")


def test_a_token_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(f"{tmp_path}/token") == TOKEN


def test_the_api_asks_for_the_token_but_the_page_does_not(tmp_path: Path) -> None:
    with controlled(tmp_path, access=Access(UnixAddress(f"{tmp_path}/control.sock"), TOKEN)) as api:
        for path in ("/v1/guests", "/v1/nothing", "/v1/stream", "/v1/metrics"):
            answer = api.ask(f"GET {path}")
            assert answer.status == 401, path
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="qgasim"'
        for path in ("/", "/v1/health", "/v1/openapi.json"):
            assert api.ask(f"GET {path}").status == 200
        assert api.ask("GET /v1/guests", Authorization=f"Bearer {TOKEN}").status == 200


def test_over_tcp_other_sites_are_refused(tmp_path: Path) -> None:
    with controlled(tmp_path, access=Access(TcpAddress("127.0.0.1", 0))) as api:
        assert api.ask("GET /v1/guests").status == 200
        assert api.ask("GET /v1/guests", Host="evil.example").status == 403
        assert api.ask("DELETE /v1/guests/guest", Origin="http://evil.example").status == 403
        assert len(api.get("/guests")) == 1
