"""Media that were added are there again after a restart of the simulator, whatever ended it."""

from pathlib import Path

from harness.simulator_client import running

PNG = {"Content_Type": "image/png"}


def test_media_that_were_added_are_there_again_with_their_bytes_and_ids(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"a file of the user's")
    with running(keep_dir=tmp_path / "kept") as client:
        added = [
            client.control("POST", "media?sha256=base64", b"over HTTP", **PNG).json()["id"],
            client.sim.add_media(b"in memory", "image/png", phone_number_id="500000000000002"),
            client.sim.add_generated(300_000, "video/mp4", seed=7, origin="upload"),
            client.sim.add_file(str(tmp_path / "elsewhere"), "text/plain"),
        ]
        client.sim.change_media(added[1], file_size="string")
        client.sim.change_media("100000000000001", file_size="string")
        before = {media_id: described(client.sim.media[media_id]) for media_id in added}
    with running(keep_dir=tmp_path / "kept") as client:
        assert {media_id: described(client.sim.media[media_id]) for media_id in added} == before
        assert len(client.sim.media) == len(added) + len(client.sim.state.samples)
        assert client.sim.media["100000000000001"].options.file_size is None
        assert client.sim.add_media(b"new", "image/png") not in added


def described(media: object) -> object:
    names = ("mime_type", "phone_number_id", "origin", "expires_at", "options")
    return [getattr(media, name) for name in names], media.read()  # type: ignore[attr-defined]


def test_media_that_were_removed_stay_so_and_their_ids_are_not_used_again(tmp_path: Path) -> None:
    with running(keep_dir=tmp_path) as client:
        files = {
            client.sim.add_media(b"in memory", "image/png"),
            client.control("POST", "media", b"x", **PNG).json()["id"],
        }
        for media_id in files:
            client.sim.remove_media(media_id)
        assert [path.name for path in tmp_path.iterdir()] == ["last-id"]
    with running(keep_dir=tmp_path) as client:
        assert not files & client.sim.media.keys()
        assert client.sim.add_media(b"new", "image/png") not in files


def test_a_reset_forgets_what_was_kept(tmp_path: Path) -> None:
    with running(keep_dir=tmp_path) as client:
        first = client.sim.add_media(b"in memory", "image/png")
        client.sim.reset()
        assert first not in client.sim.media
    with running(keep_dir=tmp_path) as client:
        assert first not in client.sim.media
        assert client.sim.add_media(b"new", "image/png") != first


def test_a_file_that_is_gone_is_no_media_any_more(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere"
    file.touch()
    with running(keep_dir=tmp_path / "kept") as client:
        gone = client.sim.add_file(str(file), "text/plain")
    file.unlink()
    with running(keep_dir=tmp_path / "kept") as client:
        assert gone not in client.sim.media
