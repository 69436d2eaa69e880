# SPDX-License-Identifier: GPL-2.0-or-later
"""The grammar of .vmx files, and what of it people and editors break."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import plausible_vm
from any_input import gives_a_document_or_one_line
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import vmx
from writers import vmx as writer

PATH = Path("/vms/web01.vmx")


def parse(text: str | bytes) -> VM:
    return vmx.parse(text if isinstance(text, bytes) else text.encode(), PATH)


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("UTF-8", "名前 ü"),
        ("windows-1252", "Büro “alt” €"),
        ("windows-1251", "сервер"),
        ("ISO-8859-1", "Büro"),
        ("GBK", "虚拟机"),
        ("GB18030", "虚拟机"),
        ("Big5", "虛擬機"),
        ("EUC-KR", "가상 머신"),
        # Its second byte of 表 is a backslash, of ポ a "|".
        ("Shift_JIS", "表ポ|41"),
    ],
)
def test_a_name_is_in_the_charset_that_the_file_names(charset: str, name: str) -> None:
    text = f'.encoding = "{charset}"\ndisplayName = "{name.replace("|", "|7C")}"\n'
    vm = parse((text + 'memsize = "4"\n').encode(charset))
    assert vm.name == name
    assert codes(vm) == []


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_part_of_the_first_key(charset: str) -> None:
    text = 'displayName = "ü"\nmemsize = "64"\n'
    mark = "\ufeff" if charset == "utf-16-le" else ""
    vm = parse((mark + text).encode(charset))
    assert (vm.name, vm.memory, codes(vm)) == ("ü", 64 * 2**20, [])


def test_a_file_without_a_charset_is_utf_8_or_else_windows_1252_and_told() -> None:
    text = 'displayName = "Büro"\nmemsize = "4"\n'
    assert (parse(text).name, codes(parse(text))) == ("Büro", [])
    vm = parse(text.encode("cp1252"))
    assert (vm.name, codes(vm)) == ("Büro", ["charset-doubtful"])


@pytest.mark.parametrize(
    "charset",
    ["idna", "undefined", "unicode_escape", "utf-7", "punycode", "hex", "klingon"],
)
def test_a_charset_that_is_none_of_text_is_not_obeyed(charset: str) -> None:
    vm = parse(f'.encoding = "{charset}"\ndisplayName = "a\\ud800+AGE-"\nmemsize = "4"')
    assert vm.name == "a\\ud800+AGE-"
    assert codes(vm) == ["charset-doubtful"]


def test_escapes_are_bytes_of_the_charset() -> None:
    utf8 = '.encoding = "UTF-8"\ndisplayName = "|E5|90|8D|22"\nmemsize = "4"'
    assert parse(utf8).name == '名"'
    latin = '.encoding = "windows-1252"\ndisplayName = "|FC"\nmemsize = "4"'
    assert parse(latin).name == "ü"
    assert parse('displayName = "a|FFb|zz"\nmemsize = "4"').name == "a�b|zz"


def test_percent_escapes_are_those_of_vcenter_only() -> None:
    text = 'displayName = "a%2fb%5Cc%25d 100% %41"\nmemsize = "4"'
    assert parse(text).name == "a/b\\c%d 100% %41"


def test_lines_may_be_padded_unquoted_or_the_last() -> None:
    vm = parse('#!/usr/bin/vmware\r\n\r\n  memsize=64\r\nnumvcpus = "2" \r\nnoequals')
    assert (vm.memory, vm.vcpus) == (64 * 2**20, 2)
    assert parse('memsize = "4"\ndisplayName = "a=b"').name == "a=b"
    assert parse('memsize = "4"\ndisplayName = "say "hi" now"').name == 'say "hi" now'
    assert parse('memsize = "4"\ndisplayName = "open').name == "open"


def test_only_line_ends_end_a_line() -> None:
    vm = parse('memsize = "4"\ndisplayName = "a\u2028b\x85c\x0bd"\n')
    assert vm.name == "a\u2028b\x85c\x0bd"


@pytest.mark.parametrize("quotes", ["“”", "„“", "\uff02\uff02"])
def test_quotes_of_an_editor_are_refused_with_their_line(quotes: str) -> None:
    text = f'memsize = "4"\n\ndisplayName = {quotes[0]}web{quotes[1]}\n'
    with pytest.raises(SourceError, match="line 3") as e:
        parse(text)
    assert e.value.remedy


def test_the_first_of_two_values_holds_and_all_are_told_at_once() -> None:
    text = "".join(f'a{n} = "1"\nA{n} = "2"\n' for n in range(20))
    vm = parse('memsize = "64"\nMEMSIZE = "128"\nmemsize = "64"\n' + text)
    assert vm.memory == 64 * 2**20
    assert codes(vm) == ["vmx-duplicate"]
    assert "memsize, a0, a1, a2, a3 …" in vm.findings[0].message


def test_a_key_may_be_a_leaf_and_a_branch() -> None:
    vm = parse('memsize = "4"\nguestOS = "ubuntu-64"\nguestOS.detailed.data = "x"\n')
    assert vm.source.os_hint == "ubuntu-64"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('displayName = "a"\nencryption.keySafe = "k"\n', "is encrypted"),
        ('encryption.data = "d"\n.encoding = "UTF-8"\n', "is encrypted"),
        ('vmx.encryptionType = "partial"\nencryption.data = "d"', "not its disks"),
    ],
)
def test_an_encrypted_vm_is_no_vm_of_32_mib(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as e:
        parse(text)
    assert e.value.remedy


def test_a_name_of_any_length_gives_a_document() -> None:
    vm = parse(f'displayName = "{"x" * 5000}"\nmemsize = "4"\n')
    assert vm.name == "x" * 255
    assert parse('displayName = " |00 "\nmemsize = "4"\n').name == "web01"


def test_what_is_not_of_the_grammar_costs_no_time() -> None:
    """Each of these took hours with a pattern that looks at every line's start."""
    start = time.process_time()
    for data in (b"\n" * 2**22, b" " * 2**22, b"|" * 2**22, b'.encoding="' * 2**18):
        with pytest.raises(SourceError):
            parse(data)
    assert time.process_time() - start < 20


NUMBERS = ["", "-1", "0", "3", "9" * 30, "9" * 5000, "0x10", "²", "1e9", "TRUE", "٣"]
WORDS = st.sampled_from(NUMBERS) | st.sampled_from(
    [
        "TRUE",
        "FALSE",
        "maybe",
        "x" * 3000,
        "a|0Ab",
        "|00",
        "|FF",
        "../..",
        "\\",
        "é\ud7ff",
    ]
)
LINES = [
    line.split(" = ")[0]
    for line in writer.write(plausible_vm.SAMPLE).decode().splitlines()
]
KEYS = st.sampled_from(
    [
        *LINES,
        *("scsi0:9999.present", "scsi0:00.fileName", "vm.genid", "floppy1.x"),
        *("bios.bootOrder", "workingDir", "ethernet9.present", "scsi0.sharedBus"),
        *("pciPassthru0.present", "serial0.fileType", "scsi0:1.mode", "scsi0:1.redo"),
    ]
)


@given(odd=st.dictionaries(KEYS, WORDS, max_size=8))
def test_odd_values_give_a_document_or_one_line(odd: dict[str, str]) -> None:
    lines = [f'{key} = "{word}"' for key, word in odd.items()]
    text = "\n".join([*lines, writer.write(plausible_vm.SAMPLE).decode()])
    gives_a_document_or_one_line(lambda: parse(text.encode("utf-8", "replace")))


@given(
    data=st.binary(max_size=300)
    | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_give_a_document_or_one_line(data: bytes) -> None:
    gives_a_document_or_one_line(
        lambda: parse(b'memsize = "4"\ndisplayName = "' + data)
    )
