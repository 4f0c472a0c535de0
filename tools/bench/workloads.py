"""What is moved: kinds of files, and how many at once.

A cell of the table is one workload run by one contestant: for so many seconds files are begun, `concurrency` at a
time, and then the last ones are finished. So a slow contestant moves fewer files, not for longer.
"""

from dataclasses import dataclass

KB = 1000
MB = 1000 * 1000


@dataclass(frozen=True)
class Kind:
    """A kind of file; its name is part of the media id."""

    name: str
    size: int
    mime_type: str
    extension: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("k100", 100 * KB, "image/jpeg", "jpg"),
        Kind("k30", 30 * KB, "audio/ogg", "ogg"),
        Kind("m8", 8 * MB, "video/mp4", "mp4"),
        Kind("m16", 16 * MB, "video/mp4", "mp4"),
        Kind("m20", 20 * MB, "application/pdf", "pdf"),
        Kind("m100", 100 * MB, "video/mp4", "mp4"),
    )
}

MIX = ["k100"] * 35 + ["k30"] * 10 + ["m8"] * 4 + ["m20"]
"""70 % images, 20 % voice notes, 8 % videos, 2 % documents."""


ALL_BUT_TWO = frozenset({"whaul", "get", "boto3", "aiohttp", "curl", "hops"})


@dataclass(frozen=True)
class Workload:
    """One row of the bench."""

    name: str
    title: str
    kinds: tuple[str, ...]
    concurrency: int
    seconds: float
    batch: int
    """Files, for a contestant that cannot be stopped by the clock."""
    rounds: int | None = None
    metadata_only: bool = False
    workers: int = 1
    only: frozenset[str] | None = None
    """The contestants that take part; all that can, when None."""

    @property
    def scaling(self) -> bool:
        """Whether it is a point of whaul's own curves rather than a comparison."""
        return self.only == frozenset({"whaul"})

    @property
    def large(self) -> bool:
        """Whether it is about bytes rather than calls."""
        return set(self.kinds) <= {"m16", "m100"}


def _spread(kinds: list[str]) -> tuple[str, ...]:
    """The same kinds in an order in which each comes regularly, so that any stretch of it is a fair sample."""
    share = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    places = [((index + 0.5) / count, kind) for kind, count in share.items() for index in range(count)]
    return tuple(kind for _, kind in sorted(places))


def _workloads() -> list[Workload]:
    small, large, huge = ("k100",), ("m16",), ("m100",)
    found = [
        Workload("100kb-x1", "100 KB, 1 at once", small, 1, 2.0, 600),
        Workload("100kb-x32", "100 KB, 32 at once", small, 32, 2.5, 2000),
        Workload("100kb-x256", "100 KB, 256 at once", small, 256, 2.5, 2000),
        Workload("16mb-x1", "16 MB, 1 at once", large, 1, 2.0, 40),
        Workload("16mb-x8", "16 MB, 8 at once", large, 8, 2.0, 48),
        Workload("16mb-x64", "16 MB, 64 at once", large, 64, 1.0, 64),
        Workload("100mb-x1", "100 MB, 1 at once", huge, 1, 1.5, 6),
        Workload("100mb-x8", "100 MB, 8 at once", huge, 8, 1.5, 8),
        # 6.4 GB for each contestant, so once, and without the two that are like others.
        Workload("100mb-x64", "100 MB, 64 at once", huge, 64, 1.0, 64, rounds=1, only=ALL_BUT_TWO),
        Workload("metadata", "metadataOnly, 32 at once", small, 32, 2.0, 0, metadata_only=True),
        Workload("mix", "realistic mix, 32 at once", _spread(MIX), 32, 3.0, 400),
    ]
    found += [
        Workload(
            f"scale-w{w}-x{c}",
            f"100 KB, {c} at once, {w} worker{'s' * (w > 1)}",
            ("k100",),
            c,
            1.5,
            0,
            workers=w,
            only=frozenset({"whaul"}),
        )
        for w in (1, 2)
        for c in (1, 4, 16, 64, 256, 1000)
    ]
    return found


WORKLOADS = {workload.name: workload for workload in _workloads()}
QUICK = Workload("quick", "100 KB, 32 at once", ("k100",), 32, 3.0, 2000)
