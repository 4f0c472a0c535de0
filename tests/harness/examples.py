"""How many examples a property is tried with: few and always the same, or many and new ones.

`HOSTILE_EXAMPLES=100` tries a hundred times as many, each time others; what fails then is printed with the line
that repeats it.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("HOSTILE_EXAMPLES", "1"))

Test = TypeVar("Test", bound=Callable[..., Any])


def examples(number: int) -> Callable[[Test], Test]:
    """Try a property with this many examples, or `HOSTILE_EXAMPLES` times as many."""
    return settings(
        max_examples=number * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,  # the machine may be busy
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


TEXT = st.text(max_size=20)


def json_values(text: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[Any]:
    """Any JSON: with huge numbers, NaN and infinities, which Python's writer takes for JSON."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.integers(min_value=-(10**400), max_value=10**400)
        | st.floats()
        | text
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=12,
    )


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes, *, times: int = 3) -> bytes:
    """Spoil some bytes: change, drop, double, insert or move a few."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, times))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(1, 8)))
        kind = draw(st.sampled_from(["change", "drop", "double", "insert", "cut"]))
        if kind == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "drop":
            del data[at:end]
        elif kind == "double":
            data[at:at] = data[at:end]
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(TRICKS) | st.binary(min_size=1, max_size=4))
        else:
            del data[at:]
    return bytes(data)


TRICKS = [
    b"\x00", b"\r\n", b"\n", b"\t", b" ", b",", b";", b"=", b"/", b"//", b"/../", b"%2e%2e", b"%00", b"%0d%0a", b"..",
    b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b":", b"@", b"#", b"?", b"&", b"+", b"*", b"\xff", b"\xc0\xaf",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"1e999", b"-0", b"NaN", b"null", b"true", b"\\ud800", b"\\u0000",
]  # fmt: skip
