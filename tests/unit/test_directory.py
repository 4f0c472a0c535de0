# ruff: noqa: ASYNC240 - looking at a file in tmp_path holds up nobody
"""Files in a directory: whole or not there, where they belong, and nothing left behind."""

import asyncio
import fcntl
import hashlib
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pyreqwest.bytes import Bytes

from whaul.errors import AccessDeniedException, DependencyException, InvalidParametersException, Retry
from whaul.model import MediaInfo
from whaul.storage.directory import Directory

pytestmark = pytest.mark.anyio
LEFT = ".whaul-0123456789abcdef0123456789abcdef.part"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "media"
    path.mkdir()
    return path


def described(data: bytes) -> MediaInfo:
    return MediaInfo("image/jpeg", len(data), hashlib.sha256(data).digest(), "https://x")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../42.jpeg",
        "a/../b",
        "a//b",
        "a/.b",
        "a/",
        "/42",
        ".h",
        "-rf",
        "a b",
        "a\0b",
        "a\n",
        "é",
        "x" * 256,
    ],
)
async def test_a_name_that_is_no_visible_file_of_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(InvalidParametersException):
        await Directory(folder, {}).put(name, b"x", described(b"x"))
    assert list(folder.iterdir()) == []


async def test_a_call_that_is_given_up_while_a_file_comes_leaves_nothing(folder: Path) -> None:
    begun = asyncio.Event()

    async def parts() -> AsyncIterator[Bytes]:
        yield Bytes(bytes(2_000_000))
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Directory(folder, {}).put("42", parts(), described(bytes(3_000_000))))
    await begun.wait()
    assert [path.name.startswith(".whaul-") for path in folder.iterdir()] == [True]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []


async def test_a_symbolic_link_of_that_name_is_replaced_and_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    (folder / "42").symlink_to(elsewhere)
    await Directory(folder, {}).put("42", b"new", described(b"new"))
    assert (elsewhere.read_bytes(), (folder / "42").read_bytes()) == (b"mine", b"new")
    assert not (folder / "42").is_symlink()


async def test_a_folder_in_the_files_place_is_an_error_and_leaves_nothing(folder: Path) -> None:
    (folder / "42").mkdir()
    with pytest.raises(DependencyException, match="directory") as caught:
        await Directory(folder, {}).put("42", b"x", described(b"x"))
    assert caught.value.retry is Retry.NO
    assert [path.name for path in folder.iterdir()] == ["42"]


async def test_a_disk_that_takes_no_more_is_an_error_that_leaves_nothing(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DependencyException, match="File too large") as caught:
            await Directory(folder, {}).put("42", bytes(100_001), described(bytes(100_001)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.retry is Retry.NO
    assert list(folder.iterdir()) == []


async def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(folder: Path) -> None:
    strangers = ["42.jpeg", ".hidden", ".whaul-.part", LEFT + "x", "x" + LEFT, LEFT.upper()]
    for name in [*strangers, LEFT]:
        (folder / name).write_bytes(b"x")
    (folder / LEFT.replace("0", "a")).mkdir()
    await Directory(folder, {}).prepare(listed=True)
    assert {path.name for path in folder.iterdir()} == {*strangers, LEFT.replace("0", "a")}


async def test_a_temporary_file_that_another_run_writes_is_left_alone(folder: Path) -> None:
    with (folder / LEFT).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await Directory(folder, {}).prepare(listed=True)
        assert (folder / LEFT).exists()
    await Directory(folder, {}).prepare(listed=True)
    assert not (folder / LEFT).exists()


async def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    await Directory(tmp_path / "a" / "b", {}).prepare(listed=True)
    assert (tmp_path / "a" / "b").is_dir()


async def test_a_name_may_lead_into_folders_and_is_found_there_by_its_stem(folder: Path) -> None:
    place = Directory(folder, {})
    await place.prepare(listed=True)
    assert await place.find("2026/11/a=b/42") is None
    for name in ("2026/11/a=b/42.jpeg", "2026/11/a=b/43.unusual", "44"):
        assert await place.put(name, b"x", described(b"x")) == ""
    await place.close()
    again = Directory(folder, {})
    assert await again.find("2026/11/a=b/42") == "2026/11/a=b/42.jpeg"
    assert await again.find("2026/11/a=b/43") == "2026/11/a=b/43.unusual"
    assert await again.find("44") == "44"
    assert await again.find("2026/11/a=b/4") is None
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["44"]


async def test_a_file_in_a_folders_place_is_named(folder: Path) -> None:
    (folder / "2026").write_bytes(b"")
    with pytest.raises(DependencyException, match=r"/2026 failed: (File exists|Not a directory), and it is not"):
        await Directory(folder, {}).put("2026/42.jpeg", b"x", described(b"x"))


async def test_nothing_is_touched_where_nothing_will_be_written(tmp_path: Path) -> None:
    place = Directory(tmp_path / "none", {})
    await place.prepare(listed=True, written=False)
    assert (await place.names(10), await place.find("42")) == ({}, None)
    assert list(tmp_path.iterdir()) == []


async def test_a_file_in_the_folders_place_is_an_error(folder: Path) -> None:
    (folder / "file").write_bytes(b"")
    with pytest.raises(DependencyException, match=r"Storing into .*/file failed: File exists, and it is not a folder"):
        await Directory(folder / "file", {}).prepare(listed=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_may_not_be_written_is_refused_at_the_start(folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(AccessDeniedException):
        await Directory(folder, {}).prepare(listed=True)


async def test_only_names_that_a_run_would_give_count_as_stored(folder: Path) -> None:
    for name in ["1.jpeg", "2", "3.x", "4.tar.gz", "5.jpeg.part", "6-thumb.jpeg", ".7", "8 .jpeg", "9.", "a.b-c"]:
        (folder / name).write_bytes(b"x")
    (folder / "10.jpeg").mkdir()
    (folder / "11.jpeg").symlink_to(folder / "nowhere")
    stored = {"1": "1.jpeg", "2": "2", "3": "3.x"}
    assert await Directory(folder, {}).names(10) == stored
    assert await Directory(folder, {"application/gzip": ".tar.gz"}).names(10) == stored | {"4": "4.tar.gz"}


async def test_a_folder_of_more_than_can_be_held_is_asked_for_each_id(folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.weird{number}").write_bytes(b"x")
    directory = Directory(folder, {})
    assert await directory.names(4) is None
    assert [await directory.find(str(number)) for number in range(6)] == [f"{n}.weird{n}" for n in range(5)] + [None]


async def test_the_location_of_a_file_is_its_path(folder: Path) -> None:
    directory = Directory(folder, {})
    await directory.put("42.jpeg", b"x", described(b"x"))
    await directory.close()
    assert Path(directory.location("42.jpeg")["path"]).read_bytes() == b"x"
