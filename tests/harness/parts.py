"""Parts that not every machine can start: without one its tests are skipped, and say so; in CI they fail."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

T = TypeVar("T")


@contextmanager
def started(part: AbstractContextManager[T], missing: type[Exception], untested: str) -> Iterator[T]:
    """Run a part; `missing` is what it raises where it cannot be started, `untested` what is not tested then."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(part)
        except missing as reason:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"NOT TESTED: {untested}. {reason}")
        yield running
