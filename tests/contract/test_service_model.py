"""`service.json` is the model of the installed botocore, and what is written from it says so."""

import importlib.util
import json
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import botocore
import pytest

from whaul import errors
from whaul.api.service import ERRORS, OPERATIONS, SHAPES, members
from whaul.graph import media_types
from whaul.simulator import uploads

TOOL = Path(__file__).parents[2] / "tools" / "model.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def file(tool: ModuleType) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(tool.FILE.read_text(encoding="utf-8"))
    return document


def test_the_file_is_the_model_of_the_installed_botocore(tool: ModuleType, file: dict[str, Any]) -> None:
    assert tool.difference(file, tool.installed()) is None


def test_the_file_is_as_the_tool_writes_it(tool: ModuleType, file: dict[str, Any]) -> None:
    assert tool.written(file) == tool.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("written_from", "advice"), [("0.0.1", "./run model"), ("999.0.0", "install that"), (botocore.__version__, "model")]
)
def test_a_difference_is_named_and_says_what_to_do(
    tool: ModuleType, file: dict[str, Any], written_from: str, advice: str
) -> None:
    other = deepcopy(file) | {"botocore": written_from}
    del other["operations"]["GetWhatsAppFlow"]
    other["shapes"]["WhatsAppMediaId"]["max"] = 99
    told = tool.difference(other, tool.installed())
    assert "['operations.GetWhatsAppFlow', 'shapes.WhatsAppMediaId']" in told
    assert advice in told


def test_every_shape_that_is_named_is_there() -> None:
    names = {name for operation in OPERATIONS.values() for name in (operation.input, operation.output)}
    names |= {member.shape for shape in SHAPES.values() for member in shape.members.values()}
    names |= {part for shape in SHAPES.values() for part in (shape.member, shape.key, shape.value) if part}
    assert names == set(SHAPES)


def test_no_documentation_is_in_the_file(file: dict[str, Any]) -> None:
    assert "documentation" not in json.dumps(file)
    assert "<p>" not in json.dumps(file)


def test_the_models_errors_have_the_models_status() -> None:
    ours = {kind.__name__: kind.status for kind in errors.ApiError.__subclasses__()}
    assert {name: status for name, status in ERRORS.items() if ours.get(name, status) != status} == {}


def test_members_are_listed_by_their_names_on_the_wire() -> None:
    names = {name for name, _ in members()}
    assert {"deleteAllTemplates", "mediaId", "twoFactorPin", "fileSize"} <= names
    assert "deleteAllLanguages" not in names


def test_the_simulator_takes_what_the_gateway_lets_through() -> None:
    assert {(kind.max_size, kind.types) for kind in media_types.KINDS} == set(uploads.KINDS.values())
