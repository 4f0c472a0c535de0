"""AWS's partitions, regions and S3 hosts, from the data files of the installed botocore.

The files are read without botocore's session, which takes a tenth of a second that most commands can do without.
"""

import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

_REGION = re.compile(r"(?![0-9]+$)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")

_URL = re.compile(r'"url"\s*:\s*"https://([^"/]+)(/\{uri_encoded_bucket\})?"')
_DNS_SUFFIX = re.compile(r"\.(?:\{\w+#dnsSuffix\}|amazonaws\.com)$")
_REGION_FIELD = re.compile(r"\.(\{Region\}|\{bucketArn#region\}|us-east-1)$")
_FIELD = re.compile(r"(\{[^}]+\})")
_LEADING_FIELDS = re.compile(r"(?:\{[^}]+\}[.-])+")
_NAME = r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?"
"""A bucket's name, or that of an access point with its account or Outpost."""
_LABEL = r"[a-z0-9-]+"

_LEGACY = re.compile(rf"(?:{_NAME}\.)?s3(?:-fips)?-(?P<region>[a-z0-9-]+)")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html#s3-legacy-endpoints"""
_LEGACY_REGION = "external-1"
"""The old name of us-east-1 in such a host."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of AWS with regions, host names and ARNs of its own."""

    name: str
    dns_suffix: str
    regions: frozenset[str]
    pattern: re.Pattern[str]
    """What its regions look like, those included that came after this botocore."""

    def has(self, region: str) -> bool:
        """Whether there is, or may be, such a region."""
        return region in self.regions or self.pattern.fullmatch(region) is not None


def is_region(name: str) -> bool:
    """Whether a region can have this name, at AWS or another store: a host label that is not a number.

    botocore has the same rule. Other stores use `auto`, `garage`, `default`, `us`, `RegionOne`, ….
    """
    return _REGION.fullmatch(name) is not None


@lru_cache(64)
def partition_of(region: str) -> Partition:
    """Find the partition of a region; `aws` for a region that is not AWS's."""
    known = _partitions()
    exact = next((partition for partition in known if region in partition.regions), None)
    return exact or next((partition for partition in known if partition.has(region)), known[0])


def s3_endpoint(region: str, *, dual_stack: bool, fips: bool) -> str:
    """Make the URL of AWS's S3 endpoint in a region, without a bucket."""
    suffix = partition_of(region).dns_suffix
    return f"https://s3{'-fips' if fips else ''}{'.dualstack' if dual_stack else ''}.{region.lower()}.{suffix}"


def is_aws_host(host: str) -> bool:
    """Whether a host (in lower case) is in one of AWS's domains."""
    return any(host.endswith(f".{partition.dns_suffix}") for partition in _partitions())


def is_s3_host(host: str) -> bool:
    """Whether AWS answers S3's requests for objects at a host (in lower case), in any of the forms that it may have.

    VPC endpoints are none of them: their names lead to private addresses, which anybody may choose.
    """
    for partition in _partitions():
        rest = host.removesuffix(f".{partition.dns_suffix}")
        if rest == host:
            continue
        regional, universal = _host_forms()
        head, _, region = rest.rpartition(".")
        if partition.has(region) and regional.fullmatch(head):
            return True
        legacy = _LEGACY.fullmatch(rest)
        if legacy and (partition.has(legacy["region"]) or legacy["region"] == _LEGACY_REGION):
            return True
        if partition is _partitions()[0] and universal.fullmatch(rest):
            return True
    return False


@cache
def _partitions() -> tuple[Partition, ...]:
    """All partitions; the first is `aws`."""
    document = json.loads(files("botocore").joinpath("data/partitions.json").read_bytes())
    return tuple(
        Partition(
            name=found["id"],
            dns_suffix=found["outputs"]["dnsSuffix"],
            regions=frozenset(name for name in found["regions"] if not name.endswith("-global")),
            pattern=re.compile(found["regionRegex"], re.ASCII),
        )
        for found in document["partitions"]
    )


@cache
def _host_forms() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands before the region, and before AWS's domain where there is no region, by S3's endpoint rules."""
    rules = files("botocore").joinpath("data/s3/2006-03-01/endpoint-rule-set-1.json.gz").read_bytes()
    regional: set[str] = set()
    universal: set[str] = set()
    for host, path in _URL.findall(gzip.decompress(rules).decode()):
        form = _DNS_SUFFIX.sub("", host)
        if form == host or "control" in form or not (path or "{Bucket}" in form or "{accessPointName}" in form):
            continue  # a custom endpoint, or one that holds no objects
        head = _REGION_FIELD.sub("", form)
        (universal if head == form else regional).add(head)
    return _any_of(regional), _any_of(universal)


def _any_of(forms: Iterable[str]) -> re.Pattern[str]:
    written = set()
    for form in forms:
        name = _LEADING_FIELDS.match(form)
        tail = form[name.end() :] if name else form
        parts = (_LABEL if part[0] == "{" else re.escape(part) for part in _FIELD.split(tail) if part)
        written.add((rf"{_NAME}\." if name else "") + "".join(parts))
    return re.compile("|".join(sorted(written)))
