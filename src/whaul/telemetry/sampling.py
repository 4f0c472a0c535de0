"""Which traces are exported. The rule is OpenTelemetry's; it is asked of every call, most of which are not."""

import random
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

DEFAULT_SHARE: Final = 0.05
"""Of the traces that begin here, unless the variables say otherwise."""
_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
_SHARE: Final = "OTEL_TRACES_SAMPLER_ARG"
_PARENT_BASED: Final = "parentbased_"
_ALL: Final = 2**64
"""Of the ids of traces, the lower half is compared: all programs with the same share choose the same traces."""


class Sampling(Sampler):
    """The rule of this process."""

    def __init__(self, share: float, *, follows_parent: bool) -> None:
        """`share` is from 0 to 1; if what a caller decided counts, it is of the traces that begin here."""
        self._bound = round(share * _ALL)
        self._follows_parent = follows_parent
        self._share = share

    def takes(self, trace_id: int, parent: bool | None) -> bool:
        """Say whether a trace is exported; `parent` is what the caller said, None without one."""
        if parent is not None and self._follows_parent:
            return parent
        return trace_id % _ALL < self._bound

    def should_sample(  # noqa: PLR0917 - the form is OpenTelemetry's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """See `Sampler`."""
        parent = get_current_span(parent_context).get_span_context()
        if self.takes(trace_id, parent.trace_flags.sampled if parent.is_valid else None):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        return SamplingResult(Decision.DROP, None, parent.trace_state)

    def get_description(self) -> str:
        """See `Sampler`."""
        return f"{_PARENT_BASED if self._follows_parent else ''}traceidratio {self._share:g}"


class TraceIds(RandomIdGenerator):
    """Ids of traces that begin here: the one that was decided about comes next."""

    def __init__(self) -> None:
        self._next: int | None = None

    def draw(self) -> int:
        """Make one, which the next trace has."""
        self._next = random.getrandbits(128) or 1
        return self._next

    def generate_trace_id(self) -> int:
        """See `IdGenerator`."""
        drawn, self._next = self._next, None
        return super().generate_trace_id() if drawn is None else drawn


def sampling(environ: Mapping[str, str]) -> Sampling:
    """Read the rule. Raises `ValueError`.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration
    """
    given = environ.get(_SAMPLER, "").strip().lower()
    name = given or f"{_PARENT_BASED}traceidratio"
    shares = {"always_on": 1.0, "always_off": 0.0, "traceidratio": 1.0 if given else DEFAULT_SHARE}
    kind = name.removeprefix(_PARENT_BASED)
    if kind not in shares:
        known = "always_on, always_off or traceidratio, or one of these after parentbased_"
        raise ValueError(f"{_SAMPLER}={given}: expected {known}")
    share, written = shares[kind], environ.get(_SHARE, "").strip()
    if kind == "traceidratio" and written:
        share = _number(written)
    return Sampling(share, follows_parent=name.startswith(_PARENT_BASED))


def _number(written: str) -> float:
    try:
        share = float(written)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{_SHARE}={written}: expected a number from 0 to 1")
    return share
