"""Who may call without a key, as browsers and programs show themselves."""

import pytest

from whaul.auth.local_callers import check_local
from whaul.errors import AccessDeniedException

HERE = "localhost:8080"


def check(**headers: str) -> None:
    check_local([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LocalHost",
        "localhost.",
        "app.localhost:80",
        "127.0.0.1",
        "127.8.7.6:1",
        "[::1]:80",
    ],
)
def test_a_program_on_this_machine_is_let_in(host: str) -> None:
    check(host=host, user_agent="aws-cli/2")


def test_one_that_names_no_host_is_let_in() -> None:
    check(user_agent="an old program")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:localhost",
        "notlocalhost",
        "192.0.2.1",
        "0.0.0.0",  # noqa: S104
        "[::2]",
        "[::1].evil.example",
        "",
        "localhost,evil.example",
        "user@localhost",
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(AccessDeniedException, match="the Host header must name it"):
        check(host=host)


def test_every_host_header_counts() -> None:
    with pytest.raises(AccessDeniedException):
        check_local([(b"host", b"localhost"), (b"host", b"evil.example")])


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:8080.evil.example"},
        {"origin": "http://[::1"},
        {"referer": "https://evil.example/page?localhost:8080"},
        {"referer": f"https://{HERE}@evil.example/"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "something new"},
        {"origin": f"http://{HERE}", "sec_fetch_site": "cross-site"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(AccessDeniedException, match="a browser made this request"):
        check(host=HERE, **headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": f"http://{HERE}", "referer": f"http://{HERE}/console"},
        {"origin": "HTTP://LOCALHOST:8080"},
    ],
    ids=str,
)
def test_a_page_of_ours_is_let_in(headers: dict[str, str]) -> None:
    check(host=HERE, **headers)
