# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-win is read from an ISO or a folder, and a broken one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import virtio_win as made
from v2v.errors import HostError
from v2v.guests.windows import virtio_win
from v2v.guests.windows.virtio_win import opened

FILES = {
    "NetKVM/2k12R2/amd64/netkvm.inf": b"one",
    "data/info.json": b'{"build": "0.1.190-1"}',
    "virtio-win_license.txt": b"",
}


@pytest.mark.parametrize(
    ("joliet", "rock_ridge"), [(True, False), (False, True), (False, False)]
)
def test_an_iso_has_what_was_put_into_it(
    tmp_path: Path, joliet: bool, rock_ridge: bool
) -> None:
    iso = made.iso(FILES, tmp_path / "x.iso", joliet=joliet, rock_ridge=rock_ridge)
    with opened(iso) as source:
        assert source
        assert sorted(source.names) == sorted(name.lower() for name in FILES)
        for name, content in FILES.items():
            assert source.read(name.lower()) == content
        assert source.label == "virtio-win-0.1.271"
        assert source.release == 271


def test_a_folder_has_its_files_and_the_links_that_stay_in_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret.inf"
    secret.write_text("secret")
    folder = made.put(FILES, tmp_path / "tree")
    (folder / "in.inf").symlink_to("NetKVM/2k12R2/amd64/netkvm.inf")
    (folder / "out.inf").symlink_to(secret)
    (folder / "round").symlink_to(".")
    (folder / "gone.inf").symlink_to("nowhere")
    with opened(folder) as source:
        assert source
        assert sorted(source.names) == sorted({*map(str.lower, FILES), "in.inf"})
        assert source.read("in.inf") == b"one"
        assert source.release == 190


@pytest.mark.parametrize(
    ("label", "name", "release"),
    [
        ("virtio-win-0.1.173", "x.iso", 173),
        ("RHEV", "virtio-win-0.1.96_amd64.iso", 96),
        ("virtio-win-1.9.40", "virtio-win-10.1.96.iso", None),
    ],
)
def test_the_release_is_said_in_one_place_or_another(
    tmp_path: Path, label: str, name: str, release: int | None
) -> None:
    iso = made.iso({"a.inf": b""}, tmp_path / name, label=label)
    with opened(iso) as source:
        assert source and source.release == release


def test_of_the_defaults_the_first_that_is_there_is_taken(tmp_path: Path) -> None:
    folder = made.put({"a.inf": b""}, tmp_path / "tree")
    iso = tmp_path / "virtio-win.iso"
    with opened(None, (iso, folder)) as source:
        assert source and source.where == folder
    made.iso({"b.inf": b""}, iso)
    with opened(None, (iso, folder)) as source:
        assert source and source.where == iso
    with opened(None, (tmp_path / "none",)) as source:
        assert source is None
    assert virtio_win.missing().severity == "warn"


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="none: no such file"):
        opened(tmp_path / "none")
    empty = made.put({"readme": b""}, tmp_path / "tree")
    with pytest.raises(HostError, match="has no drivers"):
        opened(empty)
    other = made.iso({"readme": b""}, tmp_path / "other.iso")
    with pytest.raises(HostError, match="has no drivers"), opened(other):
        pass
    text = tmp_path / "text.iso"
    text.write_text("no ISO")
    with pytest.raises(HostError, match="is no ISO, or broken"), opened(text):
        pass


def test_what_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtio_win, "MAX_FILE", 2**20)
    files = {"a.inf": bytes(2**20 + 1)}
    for where in (made.put(files, tmp_path / "t"), made.iso(files, tmp_path / "i")):
        with opened(where) as source:
            assert source
            with pytest.raises(HostError, match="more than 1 MiB"):
                source.read("a.inf")
    monkeypatch.setattr(virtio_win, "_MOST_FILES", 2)
    many = made.put({f"{n}.inf": b"" for n in range(3)}, tmp_path / "many")
    with pytest.raises(HostError, match="more than 2 files"):
        opened(many)


def test_a_broken_iso_is_read_or_refused_in_a_line(tmp_path: Path) -> None:
    whole = made.iso(FILES, tmp_path / "x.iso").read_bytes()
    broken = tmp_path / "broken.iso"
    refused = 0
    spots = [n for n, byte in enumerate(whole) if byte and n >= 0x8000]
    for at in spots[:: max(1, len(spots) // 150)]:
        broken.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            with opened(broken) as source:
                assert source
                for name in source.names:
                    source.read(name)
        except HostError as e:
            refused += 1
            assert "\n" not in e.message and e.remedy
    assert refused
    for size in (0x8001, 0x8800, 0x9000, len(whole) // 2):
        broken.write_bytes(whole[:size])
        with pytest.raises(HostError), opened(broken) as source:
            assert source and source.read("netkvm/2k12r2/amd64/netkvm.inf") == b"one"
            raise HostError("what matters was there")
