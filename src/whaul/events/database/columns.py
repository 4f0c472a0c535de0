"""Types of the tables' columns, and how the columns are read and written without them."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import BigInteger, Dialect, Text, TypeDecorator

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """A moment, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Take a moment that says its time zone to microseconds."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        return None if value is None else moment(value)


class Sealed(TypeDecorator[str]):
    """Content that `whaul.secrets.Cipher` encrypted with the key that the row's `key_id` names."""

    impl = Text
    cache_ok = True


def microseconds(value: datetime) -> int:
    """Write a moment as the tables keep it."""
    return (value - _EPOCH) // timedelta(microseconds=1)


def microseconds_now() -> int:
    """The time of this machine's clock."""
    return time.time_ns() // 1000


def moment(value: int) -> datetime:
    """Read a moment of the tables, UTC."""
    return _EPOCH + timedelta(microseconds=value)


def readable(key_ids: Iterable[str]) -> str:
    """Write SQL for rows that one of these keys has encrypted; their ids are ours."""
    return f"key_id IN ({', '.join(repr(id_) for id_ in key_ids)})"


def listed(values: Iterable[int | str]) -> str:
    """Write values as a parameter, for `Store.rows` with one column, `id`."""
    return msgspec.json.encode([{"id": value} for value in values]).decode()
