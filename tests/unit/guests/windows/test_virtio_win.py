# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-win is read from its ISO or a folder, and a broken one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import virtio_win as made
from v2v.errors import HostError
from v2v.guests.windows import virtio_win

SOME = {
    path: content
    for path, content in made.files().items()
    if path.startswith(("viostor/w10", "NetKVM/2k12R2", "guest-agent"))
}


@pytest.mark.parametrize("names", ["both", "rr", "joliet", "iso"])
def test_an_iso_is_read_by_any_of_its_names(tmp_path: Path, names: str) -> None:
    media = virtio_win.media(made.iso(tmp_path / "x.iso", SOME, names))
    assert media is not None
    read = {path: media.read(path) for path in media.entries}
    assert read == {path.lower(): content for path, content in SOME.items()}
    assert media.release == (0, 1, 271)


def test_a_folder_is_read_in_any_case(tmp_path: Path) -> None:
    media = virtio_win.media(made.folder(tmp_path, SOME))
    assert media is not None
    assert media.entries.keys() == {path.lower() for path in SOME}
    assert media.read("netkvm/2k12r2/amd64/netkvm.sys") == made.program()
    assert media.release is None


def test_the_release_is_in_a_list_or_in_the_name(tmp_path: Path) -> None:
    listed = {"data/info.json": json.dumps({"name": "virtio-win-0.1.160"}).encode()}
    media = virtio_win.media(made.folder(tmp_path / "a", SOME | listed))
    assert media and media.release == (0, 1, 160)
    named = made.folder(tmp_path / "virtio-win-1.9.40", SOME)
    media = virtio_win.media(named)
    assert media and media.release == (1, 9, 40)


@pytest.mark.parametrize("text", [b"[" * 100000, b"\xff", b"[]", b'{"a": 1}'])
def test_a_list_that_is_none_says_nothing(tmp_path: Path, text: bytes) -> None:
    media = virtio_win.media(made.folder(tmp_path, SOME | {"data/info.json": text}))
    assert media and media.release is None


def test_without_any_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtio_win, "DEFAULTS", (tmp_path / "x.iso", tmp_path / "x"))
    assert virtio_win.media(None) is None
    made.folder(tmp_path / "x", SOME)
    media = virtio_win.media(None)
    assert media and media.where == tmp_path / "x"


@pytest.mark.parametrize("content", [b"", b"no image", bytes(2**20)])
def test_what_is_no_iso_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.iso").write_bytes(content)
    with pytest.raises(HostError, match=r"x\.iso cannot be used: it is no ISO"):
        virtio_win.media(tmp_path / "x.iso")


def test_an_iso_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = made.iso(tmp_path / "x.iso", SOME)
    whole = file.read_bytes()
    # Behind the folders, in the files.
    file.write_bytes(whole[: whole.rindex(b"agent of")])
    with pytest.raises(HostError, match="cannot be used: it is cut off"):
        virtio_win.media(file)


def test_damage_anywhere_in_its_folders_raises_nothing_else(tmp_path: Path) -> None:
    whole = made.iso(tmp_path / "x.iso", SOME).read_bytes()
    # The descriptors, the tables of paths and the folders.
    for at in range(16 * 2048, min(len(whole), 48 * 2048), 509):
        file = tmp_path / f"{at}.iso"
        file.write_bytes(whole[:at] + b"\xff" * 7 + whole[at + 7 :])
        try:
            media = virtio_win.media(file)
        except HostError as e:
            assert str(file) in e.message
        else:
            assert media is not None
            assert all(e.offset + e.size <= len(whole) for e in media.entries.values())
        file.unlink()


def test_a_folder_without_a_driver_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme").write_text("nothing")
    (tmp_path / "x.inf").symlink_to("/nowhere")
    with pytest.raises(HostError, match="there is no driver"):
        virtio_win.media(tmp_path)


def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = virtio_win.media(made.folder(tmp_path, SOME))
    monkeypatch.setattr(virtio_win, "MAX_FILE", 10)
    with pytest.raises(HostError, match=r"viostor\.inf is larger"):
        assert media and media.read("viostor/w10/amd64/viostor.inf")
