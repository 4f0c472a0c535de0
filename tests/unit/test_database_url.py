from pathlib import Path

import pytest

from whaul.database_url import check_database_url, is_postgresql, postgresql_options, postgresql_servers


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///registry.db",
        "sqlite:////var/lib/whaul/registry.db",
        "postgresql://whaul:hunter2@db.example.com/whaul",
        "postgres://whaul:hunter2@db.example.com:5432/whaul",
        "PostgreSQL://whaul:hunter2@db.example.com/whaul",
        "postgresql://whaul@db.example.com/whaul",
        "postgresql://db.example.com/whaul",
        "postgresql://whaul:p%40ss%2Fw%3F@db.example.com/whaul",
        "postgresql://whaul:hunter2@[::1]:5432/whaul",
        "postgresql://whaul:hunter2@a:5432,b:5433/whaul?target_session_attrs=primary",
        "postgresql://whaul:hunter2@/whaul?host=/run/postgresql",
        "postgresql://%2Frun%2Fpostgresql/whaul",
        "postgresql://whaul:hunter2@db.example.com/whaul?sslmode=require&application_name=inbox",
        "postgresql://whaul:hunter2@db.example.com/whaul?sslmode=verify-full&sslrootcert=system",
        f"postgresql://whaul:hunter2@db.example.com/whaul?sslmode=verify-full&sslrootcert={__file__}",
    ],
)
def test_a_usable_url_is_accepted(url: str) -> None:
    check_database_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://whaul:hunter2@db.example.com", "expected postgresql://user"),
        ("postgresql://whaul:hunter2@db.example.com/", "expected postgresql://user"),
        ("postgresql:whaul", "expected postgresql://user"),
        ("postgresql+asyncpg://whaul:hunter2@db.example.com/whaul", "expected postgresql://user"),
        ("postgresql://whaul:hun@ter2@db.example.com/whaul", "as %XX"),
        ("postgresql://whaul:hun/ter2@db.example.com/whaul", "as %XX"),
        ("postgresql://whaul:hun?ter2@db.example.com/whaul", "as %XX"),
        ("postgresql://whaul:hun#ter2@db.example.com/whaul", "as %XX"),
        ("postgresql://whaul:hun:ter2@db.example.com/whaul", "as %XX"),
        ("postgresql://whaul:hun ter2@db.example.com/whaul", "as %XX"),
        ("postgresql://whaul:hunter2@db.example.com/whaul\n", "as %XX"),
        ("postgresql://whaul:hunter2@db.example.com:port/whaul", "the host"),
        ("postgresql://whaul:hunter2@db.example.com:1234567/whaul", "the host"),
        ("postgresql://whaul:hunter2@a,,b/whaul", "the host"),
        ("postgresql://whaul:hunter2@a:0/whaul", "the host"),
        ("postgresql://whaul:hunter2@[::1/whaul", "the host"),
        ("postgresql://whaul:hunter2@db/whaul?target_session_attrs=master", "must be one of any, primary"),
        ("postgresql://whaul:hunter2@/whaul?host=/a,/b,/c&port=1,2", "one for each host"),
        ("postgresql://whaul:hunter2@db/whaul?ssl=true", "an option that is not known; known are application_name"),
        ("postgresql://whaul:hunter2@db/whaul?sslmod=require", "an option that is not known"),
        ("postgresql://whaul:hunter2@db/whaul?options=-csearch_path%3Dx", "an option that is not known"),
        ("postgresql://whaul:hunter2@db/whaul?sslmode=", "sslmode of the database URL is empty"),
        (
            "postgresql://whaul:hunter2@db/whaul?sslmode=yes",
            "must be one of disable, allow, prefer, require, verify-ca",
        ),
        ("postgresql://whaul:hunter2@db/whaul?sslmode=require&sslrootcert=system", "goes with sslmode=verify-full"),
        ("postgresql://whaul:hunter2@db/whaul?sslmode=verify-full&sslrootcert=/no/such.pem", "cannot be read"),
        ("postgresql://whaul:hunter2@db/whaul?sslmode=verify-full&sslcert=system", "cannot be read"),
        ("postgresql://whaul:hunter2@/whaul?port=five", "port of the database URL must be a number"),
        ("mysql://whaul:hunter2@db.example.com/whaul", "expected sqlite:///relative.db"),
        ("whaul:hunter2@db.example.com/whaul", "expected sqlite:///relative.db"),
    ],
)
def test_any_other_url_is_refused_without_repeating_the_password(url: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        check_database_url(url)
    for part in ("hun", "ter2", "hunter2"):
        assert part not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgres://h/d", "postgresql+asyncpg://h/d", "PostgreSQL:"])
def test_what_means_postgresql_is_told_apart_from_a_file(url: str) -> None:
    assert is_postgresql(url)


def test_a_file_whose_name_begins_so_is_no_postgresql() -> None:
    assert not is_postgresql(f"sqlite:///{Path('postgresql')}")


def test_options_are_read_decoded() -> None:
    assert postgresql_options("postgresql://h/d?application_name=a%20b&sslmode=require") == {
        "application_name": "a b",
        "sslmode": "require",
    }
    assert postgresql_options("postgresql://h/d") == {}


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("postgresql://u:p@a/w", ["postgresql://u:p@a/w"]),
        (
            "postgresql://a:1,[::1]:2,c/w?sslmode=require",
            [f"postgresql://{h}/w?sslmode=require" for h in ("a:1", "[::1]:2", "c")],
        ),
        ("postgresql://u@/w?host=/run", ["postgresql://u@/w?host=/run"]),
        ("postgresql://u@/w?host=a,b&port=5", ["postgresql://u@/w?host=a&port=5", "postgresql://u@/w?host=b&port=5"]),
        ("postgresql://u@/w?host=a,b&port=5,6", ["postgresql://u@/w?host=a&port=5", "postgresql://u@/w?host=b&port=6"]),
        ("postgresql:///w?host=a,b", ["postgresql:///w?host=a", "postgresql:///w?host=b"]),
    ],
)
def test_servers_are_taken_one_by_one(url: str, servers: list[str]) -> None:
    check_database_url(url)
    assert list(postgresql_servers(url)) == servers
