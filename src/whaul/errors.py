"""The one error tree. Every failure a caller of the API can see is one of these.

    ApiError
    ├── SerializationException               400  the body is not JSON, or a member has the wrong JSON type
    ├── ValidationException                  400  a member is missing or breaks its constraint
    ├── InvalidParametersException           400  members that make no sense together, or a refused destination
    ├── RequestEntityTooLargeException       413
    ├── UnknownOperationException            404  405 for a known path with another method
    ├── MissingAuthenticationTokenException  403
    ├── IncompleteSignatureException         403
    ├── UnrecognizedClientException          403
    ├── ExpiredTokenException                403  a temporary access key whose time is over
    ├── InvalidSignatureException            403
    ├── AccessDeniedException                403  a policy, or the caller's or server's S3 rights
    ├── AccessDeniedByMetaException          403
    ├── ResourceNotFoundException            404
    ├── ConflictException                    409  a call at Meta that is under way, or was answered already
    ├── ThrottledRequestException            429  carries `retry_after`
    ├── LimitExceededException               400  Meta's quota for registering a phone number
    ├── InternalServiceException             500
    ├── ServiceUnavailable                   503  the registry's database does not answer
    └── DependencyException                  502  Meta or S3 failed

The class name is the wire code (`x-amzn-ErrorType`), the class docstring the default message. Messages are
public: they never hold a token, a signed URL, a bucket or key of a request, or the text of a foreign exception.
"""

from enum import Enum
from typing import ClassVar


class Retry(Enum):
    """Whether the failed step may be tried again inside the same call."""

    NO = "no"
    ONCE = "once"
    """At once, and only once: what was wrong is known and fixed."""
    FEW = "few"
    """A few times: what came was wrong, and will be again if it is not a fault on the way."""
    YES = "yes"
    """For as long as the call's deadline allows."""


class ApiError(Exception):
    """The request failed."""

    status: int = 500
    default_retry: ClassVar[Retry] = Retry.NO

    def __init__(
        self,
        message: str | None = None,
        *,
        retry: Retry | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        """Build the error.

        `retry_after` is in seconds: how long the far side asked to be left alone. It bounds the back-off inside
        the call and, on a throttle, becomes the `Retry-After` header.
        """
        self.message = message or (type(self).__doc__ or "").strip()
        super().__init__(self.message)
        self.retry = retry or self.default_retry
        self.retry_after = retry_after
        if status is not None:
            self.status = status

    @property
    def code(self) -> str:
        """The error code on the wire."""
        return type(self).__name__


class SerializationException(ApiError):
    """The request body is not the JSON object that this operation takes."""

    status = 400


class ValidationException(ApiError):
    """The request contains an invalid parameter value."""

    status = 400


class InvalidParametersException(ApiError):
    """One or more parameters provided to the action are not valid."""

    status = 400


class RequestEntityTooLargeException(ApiError):
    """The request body is larger than this service reads."""

    status = 413


class UnknownOperationException(ApiError):
    """There is no operation at this path."""

    status = 404


class MissingAuthenticationTokenException(ApiError):
    """The request is not signed. Sign it with AWS Signature Version 4."""

    status = 403


class IncompleteSignatureException(ApiError):
    """The request signature does not conform to AWS Signature Version 4."""

    status = 403


class UnrecognizedClientException(ApiError):
    """The security token included in the request is invalid."""

    status = 403


class ExpiredTokenException(ApiError):
    """The temporary access key of the request has expired. Use a new one."""

    status = 403


class InvalidSignatureException(ApiError):
    """The request signature does not match. Check the secret access key and the signing method."""

    status = 403


class AccessDeniedException(ApiError):
    """You do not have sufficient access to perform this action."""

    status = 403


class AccessDeniedByMetaException(ApiError):
    """Meta denied access. Check the access token of the linked account and its permissions."""

    status = 403


class ResourceNotFoundException(ApiError):
    """The resource was not found."""

    status = 404


class ConflictException(ApiError):
    """The request conflicts with something that is under way."""

    status = 409


class ThrottledRequestException(ApiError):
    """The request was denied due to request throttling. Try again later."""

    status = 429
    default_retry = Retry.YES


class LimitExceededException(ApiError):
    """The request was denied because it would exceed one or more service quotas or limits."""

    status = 400


class InternalServiceException(ApiError):
    """The request failed because of an internal error. Report it with its request id."""

    status = 500


class ServiceUnavailable(ApiError):
    """The server cannot reach its database. Try again later."""

    status = 503


class DependencyException(ApiError):
    """A service that this action depends on failed."""

    status = 502
    default_retry = Retry.YES
