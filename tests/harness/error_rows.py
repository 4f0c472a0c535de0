"""Which failure becomes which error: the table that callers rely on, row by row, and who shows each row.

A row is "where: what happened". Tests name the rows that they show with `shows`; a test at the end of
`test_errors_complete` fails when a row is shown by nobody.
"""

from collections.abc import Callable
from typing import TypeVar

import pytest
from botocore.exceptions import ClientError

from harness.world import Gateway

STATUS = {
    "SerializationException": 400,
    "ValidationException": 400,
    "InvalidParametersException": 400,
    "AccessDeniedException": 403,
    "AccessDeniedByMetaException": 403,
    "MissingAuthenticationTokenException": 403,
    "IncompleteSignatureException": 403,
    "UnrecognizedClientException": 403,
    "ExpiredTokenException": 403,
    "InvalidSignatureException": 403,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "RequestEntityTooLargeException": 413,
    "LimitExceededException": 400,
    "ConflictException": 409,
    "ThrottledRequestException": 429,
    "InternalServiceException": 500,
    "ServiceUnavailable": 503,
    "DependencyException": 502,
}

ROWS: dict[str, str] = {
    "request: not JSON, or a wrong JSON type": "SerializationException",
    "request: body over the limit": "RequestEntityTooLargeException",
    "request: member missing, length or pattern broken": "ValidationException",
    "request: both or no destination": "InvalidParametersException",
    "request: refused presigned host or header": "InvalidParametersException",
    "request: final key too long or with a dot segment": "InvalidParametersException",
    "request: nextToken that was not given out": "ValidationException",
    "request: tags that are not possible": "InvalidParametersException",
    "request: call hours that are not possible": "InvalidParametersException",
    "request: no such route": "UnknownOperationException",
    "request: known route, wrong method": "UnknownOperationException",
    "auth: no Authorization": "MissingAuthenticationTokenException",
    "auth: malformed or incomplete Authorization": "IncompleteSignatureException",
    "auth: wrong scope": "IncompleteSignatureException",
    "auth: host not signed": "IncompleteSignatureException",
    "auth: date missing": "IncompleteSignatureException",
    "auth: unknown or disabled key": "UnrecognizedClientException",
    "auth: wrong session token": "UnrecognizedClientException",
    "auth: expired temporary key": "ExpiredTokenException",
    "auth: signature differs": "InvalidSignatureException",
    "auth: date more than 15 minutes off": "InvalidSignatureException",
    "policy: action not allowed": "AccessDeniedException",
    "policy: phone number not allowed": "AccessDeniedException",
    "policy: bucket and key not allowed": "AccessDeniedException",
    "policy: action on an account not allowed": "AccessDeniedException",
    "registry: account not linked": "ResourceNotFoundException",
    "registry: account of another account or region": "ResourceNotFoundException",
    "registry: not linked": "ResourceNotFoundException",
    "registry: of another account or region": "ResourceNotFoundException",
    "registry: the database does not answer": "ServiceUnavailable",
    "quota: caller's limit": "ThrottledRequestException",
    "quota: server's limit": "ThrottledRequestException",
    "signup: token of the first step unknown, used or old": "InvalidParametersException",
    "signup: token revoked at Meta, or bound to no account": "InvalidParametersException",
    "Meta: wrong two-factor PIN, number not verified": "InvalidParametersException",
    "Meta: quota of PINs and registrations": "LimitExceededException",
    "Meta: access codes": "AccessDeniedByMetaException",
    "Meta: 401 or 403 without a code": "AccessDeniedByMetaException",
    "Meta: 100 with subcode 33 or none": "ResourceNotFoundException",
    "Meta: 404 on metadata": "ResourceNotFoundException",
    "Meta: other 100, 131008, 131009, other 4xx": "DependencyException",
    "Meta: what the caller wrote": "InvalidParametersException",
    "Meta: a call is under way": "ConflictException",
    "Meta: throttles": "ThrottledRequestException",
    "Meta: passing faults": "DependencyException",
    "Meta: other 5xx": "DependencyException",
    "Meta: connection errors": "DependencyException",
    "Meta: timeouts": "DependencyException",
    "Meta: download URL 404": "ResourceNotFoundException",
    "Meta: download URL 401 or 403": "AccessDeniedByMetaException",
    "Meta: body short, long, wrong hash, or HTML": "DependencyException",
    "Meta: body over the size limit": "InvalidParametersException",
    "Meta: not the documented JSON": "DependencyException",
    "S3: no such bucket": "ResourceNotFoundException",
    "S3: access denied": "AccessDeniedException",
    "S3: bad or expired server credentials": "AccessDeniedException",
    "S3: wrong region": "InvalidParametersException",
    "S3: SlowDown, 429, 503": "ThrottledRequestException",
    "S3: 5xx, connection errors, timeouts, BadDigest": "DependencyException",
    "S3: other 4xx": "InvalidParametersException",
    "presigned: 403": "AccessDeniedException",
    "presigned: other 4xx": "InvalidParametersException",
    "ours: anything unforeseen": "InternalServiceException",
}

SHOWN: set[str] = set()
Test = TypeVar("Test", bound=Callable[..., object])


def shows(*rows: str) -> Callable[[Test], Test]:
    """Say which rows a test shows."""
    SHOWN.update(rows)
    assert set(rows) <= ROWS.keys(), set(rows) - ROWS.keys()
    return lambda test: test


def fails(gateway: Gateway, row: str, call: Callable[[], object]) -> str:
    """Make a call with boto3 that must fail as the row says; return the message.

    The exception must be the client's own class for the error, where the model has one.
    """
    code = ROWS[row]
    kind = getattr(gateway.client().exceptions, code) if code in MODELLED else ClientError
    with pytest.raises(kind) as refusal:
        call()
    answer = refusal.value.response
    assert answer["Error"]["Code"] == code
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == STATUS[code]
    return str(answer["Error"]["Message"])


MODELLED = frozenset(
    {
        "ValidationException",
        "InvalidParametersException",
        "AccessDeniedException",
        "AccessDeniedByMetaException",
        "ConflictException",
        "LimitExceededException",
        "ResourceNotFoundException",
        "ThrottledRequestException",
        "InternalServiceException",
        "DependencyException",
    }
)
