"""Members of the media operations that make no sense together."""

from typing import Any

import pytest

from whaul.errors import InvalidParametersException
from whaul.operations.media import OPERATIONS

SECRET = "S3cr3tS1gnature"
FILE = {"bucketName": "inbox", "key": "inbound_"}
PRESIGNED = {"url": f"https://inbox.s3.amazonaws.com/k?X-Amz-Signature={SECRET}", "headers": {}}


def refusal(operation: str, **members: Any) -> str:
    with pytest.raises(InvalidParametersException) as caught:
        OPERATIONS[operation].check(members)
    return caught.value.message


@pytest.mark.parametrize("metadata_only", [True, False, None])
def test_two_destinations_are_refused(metadata_only: bool | None) -> None:
    both = {"destinationS3File": FILE, "destinationS3PresignedUrl": PRESIGNED}
    message = refusal("GetWhatsAppMessageMedia", metadataOnly=metadata_only, **both)
    assert "not both" in message
    assert SECRET not in message


@pytest.mark.parametrize("metadata_only", [False, None])
def test_no_destination_is_refused_unless_only_metadata_is_wanted(metadata_only: bool | None) -> None:
    assert "metadataOnly" in refusal("GetWhatsAppMessageMedia", metadataOnly=metadata_only, destinationS3File=None)
    OPERATIONS["GetWhatsAppMessageMedia"].check({"metadataOnly": True})


@pytest.mark.parametrize("members", [{}, {"sourceS3File": FILE, "sourceS3PresignedUrl": PRESIGNED}])
def test_a_file_is_sent_from_one_source(members: dict[str, Any]) -> None:
    assert "one source" in refusal("PostWhatsAppMessageMedia", **members)
