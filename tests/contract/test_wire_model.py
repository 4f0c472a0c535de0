"""The shapes of the API against the model in the installed botocore: they fail when ours, or AWS's, drift."""

import botocore.session
import pytest

from whaul.graph import media_types
from whaul.simulator import uploads
from whaul.wire import constraints, media, messages

MODEL = botocore.session.Session().get_service_model("socialmessaging")
OPERATION = MODEL.operation_model("GetWhatsAppMessageMedia")


def test_the_members_are_those_of_the_model() -> None:
    assert set(OPERATION.input_shape.members) == set(fields(media._GetMedia))
    assert set(OPERATION.input_shape.members["destinationS3File"].members) == set(fields(media._S3File))
    assert set(OPERATION.input_shape.members["destinationS3PresignedUrl"].members) == set(fields(media._S3PresignedUrl))
    assert set(OPERATION.output_shape.members) == set(fields(media._GetMediaAnswer))


def fields(struct: type) -> tuple[str, ...]:
    names: tuple[str, ...] = struct.__struct_encode_fields__  # type: ignore[attr-defined]
    return names


@pytest.mark.parametrize(
    ("constraint", "structure", "member"),
    [
        (constraints.MEDIA_ID, None, "mediaId"),
        (constraints.PHONE_NUMBER_ID, None, "originationPhoneNumberId"),
        (constraints.BUCKET_NAME, "destinationS3File", "bucketName"),
        (constraints.KEY, "destinationS3File", "key"),
        (constraints.URL, "destinationS3PresignedUrl", "url"),
    ],
)
def test_a_members_constraint_is_that_of_the_model(
    constraint: constraints.Constraint, structure: str | None, member: str
) -> None:
    parent = OPERATION.input_shape.members[structure] if structure else OPERATION.input_shape
    shape = parent.members[member]
    assert constraint.required == (member in parent.required_members)
    assert (constraint.least, constraint.most) == (shape.metadata.get("min", 0), shape.metadata.get("max"))
    assert constraint.sensitive == bool(parent.metadata.get("sensitive"))
    if member != "url":  # the host is checked as parsed, not as text: see netguard
        assert constraint.pattern == shape.metadata.get("pattern")


def test_the_models_types_are_those_that_are_read_and_written() -> None:
    types = {name: shape.type_name for name, shape in OPERATION.input_shape.members.items()}
    assert types["metadataOnly"] == "boolean"
    assert OPERATION.input_shape.members["destinationS3PresignedUrl"].members["headers"].type_name == "map"
    assert {n: s.type_name for n, s in OPERATION.output_shape.members.items()} == {
        "mimeType": "string",
        "fileSize": "long",
    }


POST, DELETE, SEND = (
    MODEL.operation_model(name)
    for name in ("PostWhatsAppMessageMedia", "DeleteWhatsAppMessageMedia", "SendWhatsAppMessage")
)


def test_the_members_of_the_sending_operations_are_those_of_the_model() -> None:
    assert set(POST.input_shape.members) == set(fields(media._PostMedia))
    assert set(POST.output_shape.members) == set(fields(media._PostMediaAnswer))
    for member, shape in (("sourceS3File", media._S3File), ("sourceS3PresignedUrl", media._S3PresignedUrl)):
        assert set(POST.input_shape.members[member].members) == set(fields(shape))
    assert set(DELETE.input_shape.members) == {"mediaId", "originationPhoneNumberId"}
    assert {m.serialization["location"] for m in DELETE.input_shape.members.values()} == {"querystring"}
    assert set(DELETE.output_shape.members) == set(fields(media._DeleteMediaAnswer))
    assert set(SEND.input_shape.members) == set(fields(messages._SendMessage))
    assert set(SEND.output_shape.members) == set(fields(messages._SendMessageAnswer))


@pytest.mark.parametrize("member", ["message", "metaApiVersion"])
def test_a_messages_constraint_is_that_of_the_model(member: str) -> None:
    constraint = {"message": constraints.MESSAGE, "metaApiVersion": constraints.API_VERSION}[member]
    shape = SEND.input_shape.members[member]
    assert constraint.required == (member in SEND.input_shape.required_members)
    assert (constraint.least, constraint.most) == (shape.metadata.get("min", 0), shape.metadata.get("max"))
    assert constraint.sensitive == bool(shape.metadata.get("sensitive"))
    assert constraint.pattern == shape.metadata.get("pattern")


def test_the_simulator_takes_what_the_gateway_lets_through() -> None:
    assert {(kind.most, kind.types) for kind in media_types.KINDS} == set(uploads.KINDS.values())
