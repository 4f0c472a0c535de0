"""The error tree: as botocore models it, as its docstring draws it, as its classes say it."""

import re

import botocore.session
import pytest

from whaul import errors
from whaul.errors import ApiError, DependencyException, Retry, ThrottledRequestException

OPERATION = botocore.session.Session().get_service_model("socialmessaging").operation_model("GetWhatsAppMessageMedia")
MODELLED = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in OPERATION.error_shapes}
TREE = ApiError.__subclasses__()

STATUSES = {
    "SerializationException": 400,
    "ValidationException": 400,
    "InvalidParametersException": 400,
    "RequestEntityTooLargeException": 413,
    "UnknownOperationException": 404,
    "MissingAuthenticationTokenException": 403,
    "IncompleteSignatureException": 403,
    "UnrecognizedClientException": 403,
    "ExpiredTokenException": 403,
    "InvalidSignatureException": 403,
    "AccessDeniedException": 403,
    "AccessDeniedByMetaException": 403,
    "ResourceNotFoundException": 404,
    "ConflictException": 409,
    "ThrottledRequestException": 429,
    "LimitExceededException": 400,
    "InternalServiceException": 500,
    "ServiceUnavailable": 503,
    "DependencyException": 502,
}


@pytest.mark.parametrize(("name", "status"), MODELLED.items())
def test_every_modelled_error_of_the_operation_exists_with_its_status(name: str, status: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, ApiError)
    assert (kind().code, kind().status) == (name, status)


def test_the_operation_still_models_the_errors_that_callers_catch() -> None:
    assert set(MODELLED) <= set(STATUSES)
    assert len(MODELLED) == 8


def test_the_tree_is_flat_and_has_the_documented_statuses() -> None:
    assert {kind.__name__: kind.status for kind in TREE} == STATUSES
    assert all(kind.__subclasses__() == [] for kind in TREE)


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+) +(\d{3})", errors.__doc__ or "")
    assert [(name, int(status)) for name, status in drawn] == list(STATUSES.items())


def test_every_class_of_the_module_is_in_the_tree() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == {kind.__name__ for kind in TREE} | {"ApiError"}


@pytest.mark.parametrize("kind", TREE)
def test_the_docstring_is_the_default_message(kind: type[ApiError]) -> None:
    error = kind()
    assert error.message == str(error) == (kind.__doc__ or "").strip()
    assert error.message.endswith(".")
    assert "\n" not in error.message
    assert kind("Told otherwise.").message == "Told otherwise."


@pytest.mark.parametrize("kind", TREE)
def test_only_failures_of_others_are_worth_trying_again(kind: type[ApiError]) -> None:
    expected = Retry.YES if kind in {ThrottledRequestException, DependencyException} else Retry.NO
    assert kind().retry is expected
    assert kind(retry=Retry.ONCE).retry is Retry.ONCE


def test_an_error_may_have_another_status_without_changing_its_class() -> None:
    assert errors.UnknownOperationException(status=405).status == 405
    assert errors.UnknownOperationException().status == 404
