"""Partitions, regions and S3 hosts: what botocore's data says, held against botocore's own resolution."""

import json
from contextlib import suppress
from importlib.resources import files
from itertools import product

import botocore.session
import botocore.utils
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointResolutionError, InvalidRegionError
from hypothesis import given
from hypothesis import strategies as st

from whaul.partitions import is_region, is_s3_host, partition_of, s3_endpoint

DATA = json.loads(files("botocore").joinpath("data/partitions.json").read_text(encoding="utf-8"))
REGIONS = [(p["id"], region) for p in DATA["partitions"] for region in p["regions"] if "global" not in region]


@pytest.fixture(scope="module")
def rules() -> EndpointProvider:
    loader = botocore.session.Session().get_component("data_loader")
    return EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))


def test_the_data_has_partitions_to_test_with() -> None:
    assert {"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b"} <= {partition for partition, _ in REGIONS}


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_a_region_is_in_its_partition(partition: str, region: str) -> None:
    assert partition_of(region).name == partition


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-new-9", "aws"),
        ("cn-new-9", "aws-cn"),
        ("us-gov-new-9", "aws-us-gov"),
        ("us-iso-new-9", "aws-iso"),
        ("us-isob-new-9", "aws-iso-b"),
        *((name, "aws") for name in ("auto", "garage", "default", "us", "RegionOne", "cn", "cn-", "us-gov", "")),
    ],
)
def test_a_region_that_is_not_listed_is_placed_by_its_form(region: str, partition: str) -> None:
    assert partition_of(region).name == partition


@pytest.mark.parametrize("region", [region for _, region in REGIONS])
def test_an_endpoint_is_the_one_that_botocore_works_out(rules: EndpointProvider, region: str) -> None:
    fixed = {"ForcePathStyle": True, "Accelerate": False, "UseGlobalEndpoint": False}
    for dual_stack, fips in product([False, True], repeat=2):
        if fips and partition_of(region).name == "aws-cn":
            continue  # there is none
        found = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack, **fixed)
        assert s3_endpoint(region, dual_stack=dual_stack, fips=fips) == found.url


BUCKETS = [
    "inbox",
    "in.box",
    "arn:{partition}:s3:{region}:123456789012:accesspoint/inbox",
    "arn:{partition}:s3-object-lambda:{region}:123456789012:accesspoint/inbox",
    "arn:{partition}:s3-outposts:{region}:123456789012:outpost/op-0123456789/accesspoint/inbox",
    "inbox--use1-az4--x-s3",
]


OPTIONS = ["UseFIPS", "UseDualStack", "Accelerate"]


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_a_host_that_botocore_makes_for_objects_is_known(rules: EndpointProvider, partition: str, region: str) -> None:
    hosts = set()
    for bucket, option in product(BUCKETS, [None, *OPTIONS]):
        if option == "Accelerate" and partition != "aws":
            continue  # the rules make a name up; there is no such service
        chosen = {name: name == option for name in OPTIONS} | {"ForcePathStyle": False}
        with suppress(EndpointResolutionError):  # not every combination has an endpoint
            url = rules.resolve_endpoint(
                Bucket=bucket.format(partition=partition, region=region), Region=region, **chosen
            ).url
            hosts.add(url.removeprefix("https://").partition("/")[0])
    assert len(hosts) > len(BUCKETS)
    for host in hosts:
        assert is_s3_host(host)
        assert not any(is_s3_host(other) for other in (f"{host}.example", f"{host}x", host.replace("s3", "s4")))


@pytest.mark.parametrize(
    "host",
    [
        "s3.amazonaws.com",
        "inbox.s3.amazonaws.com",
        "s3-external-1.amazonaws.com",
        "inbox.s3-external-1.amazonaws.com",
        "s3-us-west-2.amazonaws.com",
        "in.box.s3-us-west-2.amazonaws.com",
        "s3-fips-us-gov-west-1.amazonaws.com",
        "my_inbox.s3.amazonaws.com",
        "alias.mrap.accesspoint.s3-global.amazonaws.com",
        "inbox.s3.eu-new-9.amazonaws.com",
    ],
)
def test_older_and_newer_hosts_are_known_too(host: str) -> None:
    assert is_s3_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "amazonaws.com",
        ".amazonaws.com",
        ".s3.amazonaws.com",
        "-.s3.amazonaws.com",
        "s3.amazonaws.com.cn",
        "s3.auto.amazonaws.com",
        "s3.cn-north-1.amazonaws.com",
        "s3.eu-west-1.amazonaws.com.cn",
        "s3.eusc-de-east-1.amazonaws.com",
        "s3.us-east-1.c2s.ic.gov",
        "s3-control.eu-west-1.amazonaws.com",
        "inbox.s3-website.eu-west-1.amazonaws.com",
        "inbox.s3-website-eu-west-1.amazonaws.com",
        "s3express-control.us-east-1.amazonaws.com",
        "bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com",
        "sqs.eu-west-1.amazonaws.com",
        "s3.eu-west-1.amazonaws.com.example",
        "s3.eu-west-1.amazonaws.com.",
        "s3-accelerate.amazonaws.com",
        "inbox.s3-.amazonaws.com",
        "s3-external-2.amazonaws.com",
    ],
)
def test_other_hosts_are_not(host: str) -> None:
    assert not is_s3_host(host)


@given(st.text(max_size=70) | st.from_regex(r"[a-zA-Z0-9_-]{0,64}", fullmatch=True))
def test_a_name_is_a_region_where_botocore_takes_it(name: str) -> None:
    try:
        botocore.utils.validate_region_name(name)
        taken = bool(name) and not name.endswith("\n")
    except InvalidRegionError:
        taken = False
    assert is_region(name) == taken
