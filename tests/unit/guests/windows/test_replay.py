# SPDX-License-Identifier: GPL-2.0-or-later
"""Hives that were in use, and what their logs add to them."""

import random
import struct
from pathlib import Path
from typing import Any

import hivex
import pytest
import regipy.recovery
from hypothesis import given
from hypothesis import strategies as st

import hives
from v2v.errors import GuestError
from v2v.guests.windows import replay

PHYSICAL = "win10-1709-x64-physical-dirty-SYSTEM"


def two_states(folder: Path) -> tuple[bytes, bytes]:
    """Return a hive before and after a value in it was changed."""
    file = hives.made(folder / "hive", {r"A\B": {"x": 1}})
    before = file.read_bytes()
    hives.extended(file, {r"A\B": {"x": 2}, "C": {"y": "z"}})
    return before, file.read_bytes()


def dirty(primary: bytes, sequences: tuple[int, int] = (6, 5)) -> bytes:
    """Return *primary* as one that was in use."""
    size = struct.unpack_from("<I", primary, 40)[0]
    return hives.base(size=size, sequences=sequences) + primary[4096:]


def pages(before: bytes, after: bytes, size: int = 4096) -> list[tuple[int, bytes]]:
    """Return where *after* differs, by offset in the bins."""
    return [
        (at - 4096, after[at : at + size])
        for at in range(4096, len(after), size)
        if before[at : at + size] != after[at : at + size]
    ]


def entry(sequence: int, changed: list[tuple[int, bytes]], bins: int) -> bytes:
    """Return an entry of a log of Windows 8.1 and later."""
    references = b"".join(struct.pack("<II", at, len(data)) for at, data in changed)
    data = references + b"".join(data for _, data in changed)
    size = -(-(40 + len(data)) // 512) * 512
    data = data.ljust(size - 40, b"\0")
    head = struct.pack("<4sIIIII", b"HvLE", size, 0, sequence, bins, len(changed))
    head += replay._marvin(data)
    return head + replay._marvin(head) + data


def new_log(*entries: bytes) -> bytes:
    return hives.base(kind=6)[:512] + b"".join(entries)


def old_log(before: bytes, after: bytes) -> bytes:
    """Return a log of Windows 7, of the sectors that differ."""
    changed = pages(before, after, 512)
    size = len(after) - 4096
    bitmap = bytearray(size // 512 // 8)
    for at, _ in changed:
        bitmap[at // 512 // 8] |= 1 << at // 512 % 8
    vector = (b"DIRT" + bitmap).ljust(-(-(4 + len(bitmap)) // 512) * 512, b"\0")
    head = hives.base(size=size, kind=1)[:512]
    return head + vector + b"".join(data for _, data in changed)


def test_a_real_dirty_hive_is_completed(shared: Path, tmp_path: Path) -> None:
    primary, *logs = (
        hives.content(shared, PHYSICAL + end) for end in ("", ".LOG1", ".LOG2")
    )
    assert replay.state(primary) == "dirty"
    done = replay.replayed(primary, logs)
    assert replay.state(done) == "clean"
    assert struct.unpack_from("<II", done, 4) == (2131, 2131)
    assert len(pages(primary, done, 512)) == 2028
    (tmp_path / "before").write_bytes(primary)
    (tmp_path / "after").write_bytes(done)
    before, after = (hives.dump(tmp_path / name) for name in ("before", "after"))
    assert (len(before), len(after)) == (33123, 35595)
    hives.extended(tmp_path / "after", {"Added": {"x": 1}})
    assert hives.dump(tmp_path / "after", "Added")[""] == {
        "x": (hives.DWORD, b"\1\0\0\0")
    }


def test_the_order_of_the_logs_does_not_count(shared: Path) -> None:
    primary, *logs = (
        hives.content(shared, PHYSICAL + end) for end in ("", ".LOG1", ".LOG2")
    )
    assert replay.replayed(primary, logs) == replay.replayed(primary, logs[::-1])


# It leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_regipy_comes_to_the_same_bins(shared: Path, tmp_path: Path) -> None:
    """Entries 2107-2110 are in LOG1 and the rest in LOG2: regipy takes one by one."""
    files = [
        hives.real(shared, PHYSICAL + end, tmp_path) for end in ("", ".LOG1", ".LOG2")
    ]
    primary, *logs = (file.read_bytes() for file in files)
    ours = replay.replayed(primary, logs)
    first = [struct.unpack_from("<I", log, 512 + 12)[0] for log in logs]
    later, earlier = (
        files[1:] if first[0] > first[1] else files[:0:-1]
    )  # it begins with its second log
    apply: Any = regipy.recovery.apply_transaction_logs  # it has no types
    theirs, _ = apply(str(files[0]), str(later), str(earlier), str(tmp_path / "theirs"))
    assert Path(theirs).read_bytes()[4096:] == ours[4096:]


@pytest.mark.parametrize(
    "name",
    ["win7-x86-vmware-static-SYSTEM", "win10-uefi-dualboot-BCD", "winpe-efi-BCD"],
)
def test_real_clean_hives_are_clean(shared: Path, name: str) -> None:
    assert replay.state(hives.content(shared, name)) == "clean"


@pytest.mark.parametrize("name", ["win81-x64-virtualbox", "win10-x64-vmware"])
def test_a_real_dirty_hive_without_logs_is_none_to_work_on(
    shared: Path, name: str
) -> None:
    primary = hives.content(shared, f"{name}-SYSTEM")
    assert replay.state(primary) == "dirty"
    with pytest.raises(GuestError, match="nothing that completes it"):
        replay.replayed(primary, [b"", b"regf"])


@pytest.mark.parametrize("data", [b"", b"regf", bytes(5000)])
def test_what_is_no_hive_is_broken(data: bytes) -> None:
    assert replay.state(data) == "broken"


def test_a_log_of_windows_7_is_replayed(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    done = replay.replayed(dirty(before), [bytes(600), old_log(before, after)])
    assert done[4096:] == after[4096:]
    assert replay.state(done) == "clean"


def test_an_old_log_of_another_time_is_none(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    log = bytearray(old_log(before, after))
    log[12] = 1
    struct.pack_into("<I", log, 508, hives.checksum(bytes(log)))
    with pytest.raises(GuestError, match="nothing"):
        replay.replayed(dirty(before), [bytes(log)])


def test_an_old_log_of_a_damaged_bin_is_refused(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    damaged = after[:4096] + b"x" + after[4097:]
    with pytest.raises(GuestError, match="damaged"):
        replay.replayed(dirty(before), [old_log(before, damaged)])


def test_entries_of_two_logs_are_merged_up_to_a_gap(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    size = len(after) - 4096
    changed = pages(before, after)
    wrong = [(0, b"x" * 512)]
    logs = [
        new_log(entry(7, changed, size)),
        new_log(entry(5, wrong, size), entry(6, [(0, before[4096:4608])], size)),
    ]
    assert replay.replayed(dirty(before), logs)[4096:] == after[4096:]
    gap = new_log(entry(9, wrong, size))
    done = replay.replayed(dirty(before), [new_log(entry(5, changed, size)), gap])
    assert done[4096:] == after[4096:]


def test_entries_that_the_hive_has_are_left_out(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    size = len(after) - 4096
    wrong = entry(4, [(0, b"x" * 512)], size)
    log = new_log(wrong, entry(5, pages(before, after), size))
    assert replay.replayed(dirty(before), [log])[4096:] == after[4096:]


def test_an_entry_whose_hash_is_wrong_ends_the_log(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    size = len(after) - 4096
    good = entry(5, pages(before, after), size)
    bad = bytearray(entry(6, [(0, b"x" * 512)], size))
    for at in (16, 24, 60):
        bad[at] ^= 1
        log = new_log(good, bytes(bad), entry(7, [(0, b"y" * 512)], size))
        assert replay.replayed(dirty(before), [log])[4096:] == after[4096:]
        bad[at] ^= 1


def test_a_hive_grows_to_the_size_of_the_log(tmp_path: Path) -> None:
    before, _ = two_states(tmp_path)
    hive = hivex.Hivex(str(tmp_path / "hive"), write=True)
    for number in range(300):
        hive.node_add_child(hive.root(), f"key{number}")
    hive.commit(None)
    after = (tmp_path / "hive").read_bytes()
    size = struct.unpack_from("<I", after, 40)[0]
    assert len(after) > len(before)
    log = new_log(entry(5, pages(before, after), size))
    (tmp_path / "done").write_bytes(replay.replayed(dirty(before), [log]))
    assert len(hives.dump(tmp_path / "done")) == 304


@pytest.mark.parametrize(
    ("changed", "bins"),
    [
        ([(8192, b"x" * 512)], 4096),  # beyond the hive
        ([(0, b"x" * 512)], 2**32 - 4096),  # too large
        ([(0, b"x" * 512)], 4095),
        ([(0, b"x" * 512)], 2**28),  # no log has as much
    ],
)
def test_pages_that_belong_nowhere_are_not_written(
    tmp_path: Path, changed: list[tuple[int, bytes]], bins: int
) -> None:
    before, _ = two_states(tmp_path)
    with pytest.raises(GuestError, match="nothing"):
        replay.replayed(dirty(before), [new_log(entry(5, changed, bins))])


def test_a_damaged_header_comes_from_the_log(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    size = len(after) - 4096
    log = new_log(entry(1, pages(before, after), size))
    broken = before[:40] + b"\xff" + before[41:]
    assert replay.state(broken) == "dirty"
    done = replay.replayed(broken, [log])
    assert (done[4096:], replay.state(done)) == (after[4096:], "clean")
    assert done[28] == 0  # a hive again, no log
    with pytest.raises(GuestError, match="header"):
        replay.replayed(broken, [])


def test_a_log_that_is_too_large_is_no_log(tmp_path: Path) -> None:
    before, after = two_states(tmp_path)
    log = new_log(entry(5, pages(before, after), len(after) - 4096))
    with pytest.raises(GuestError):
        replay.replayed(dirty(before), [log.ljust(replay.MAX_LOG + 1, b"\0")])


@given(seed=st.integers(0, 2**32), cut=st.integers(0, 9000))
def test_any_log_is_replayed_or_refused(
    seed: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before, after = two_states(tmp_path_factory.mktemp("hive"))
    chance = random.Random(seed)
    size = len(after) - 4096
    log = bytearray(
        chance.choice(
            [
                new_log(entry(5, pages(before, after), size)),
                old_log(before, after),
            ]
        )
    )
    for _ in range(chance.randrange(1, 9)):
        log[chance.randrange(len(log))] = chance.randrange(256)
    if chance.random() < 0.7:
        struct.pack_into("<I", log, 508, hives.checksum(bytes(log)))
    try:
        done = replay.replayed(dirty(before), [bytes(log[:cut])])
    except GuestError:
        return
    assert replay.state(done) == "clean"
