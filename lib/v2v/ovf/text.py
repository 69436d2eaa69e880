# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a description (OVF, and other XML) as a tree that is safe to walk.

No document type, so no entities and no other files; nothing from the network; at most
8 MiB.  Elements and attributes are found by their local names: prefixes are missing,
undeclared or wrong in many real files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from v2v.errors import SourceError

Element = etree._Element

# As a tree it takes forty times that at worst.
MAX_SIZE = 8 * 2**20
# What may stand before the root element, but for a document type.
_MISC = re.compile(r"\s+|<!--.*?-->|<\?.*?\?>", re.DOTALL)
_NAME = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)")
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]{1,40})[\"']")
# Python has codecs that are no charsets and some that are slow on hostile input.
_CHARSET = re.compile(
    r"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-125\d|gbk|gb2312|gb18030|big5"
    r"|shift_jis|euc-(?:jp|kr)",
    re.IGNORECASE,
)
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_HTML_REMEDY = "a browser may have saved a log-in page; download the file again"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of description: its root element, and what messages call it."""

    root: str
    what: str
    remedy: str


OVF = Kind(root="Envelope", what="OVF", remedy="name the .ovf of the package")


def root_name(head: bytes) -> str:
    """Return the local name of the root element of XML that starts with *head*.

    Empty if *head* is no XML.
    """
    text = _decoded(head)
    match = _NAME.match(text, _prolog_end(text))
    return match[1] if match else ""


def tree(data: bytes, name: str, wanted: Kind = OVF) -> tuple[Element, bool]:
    """Return the root of *data*, which is to be *wanted*; and whether it had to be
    repaired.

    Raises SourceError, which calls the file *name*, if it is none or a hostile one.
    """
    if len(data) > MAX_SIZE:
        raise SourceError(
            f"{name} is too large for {wanted.what}: {len(data)} bytes", wanted.remedy
        )
    text = _decoded(data)
    start = _prolog_end(text)
    _refuse(text[start : start + 200], name, wanted)
    root, repaired = _parsed(text[start:].encode("utf-8", "replace"), name)
    if local(root) != wanted.root:
        raise SourceError(
            f"{name} is no {wanted.what}: its root element is {local(root)[:60]}",
            wanted.remedy,
        )
    return root, repaired


def _decoded(data: bytes) -> str:
    """Return the text of *data*.  What it declares itself to be is often not true."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace").removeprefix("\ufeff")
    declared = _DECLARED.match(data[:300].lstrip())
    charset = declared[1].decode() if declared else "utf-8"
    for encoding in (charset if _CHARSET.fullmatch(charset) else "utf-8", "utf-8"):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("cp1252", "replace")


def _prolog_end(text: str) -> int:
    """Return where the root element, or a document type, begins."""
    at = 0
    while match := _MISC.match(text, at):
        at = match.end()
    return at


def _refuse(start: str, name: str, wanted: Kind) -> None:
    """Raise SourceError if the document that begins with *start* is hostile or HTML."""
    match = _NAME.match(start)
    if re.match(r"<!doctype\s+html", start, re.IGNORECASE) or (
        match and match[1].lower() == "html"
    ):
        raise SourceError(
            f"{name} is a web page (HTML) and no {wanted.what}", _HTML_REMEDY
        )
    if start.startswith("<!"):
        # Only here can entities be declared, and files or addresses be named.
        raise SourceError(
            f"{name} has a document type (DOCTYPE), which no {wanted.what} needs",
            "do not trust this file; if it is yours, remove the DOCTYPE",
        )
    if not match:
        raise SourceError(
            f"{name} is neither a tar archive nor XML"
            if wanted is OVF
            else f"{name} is no XML",
            "copy or download it again; compare the sizes",
        )


def _parsed(data: bytes, name: str) -> tuple[Element, bool]:
    parser = _parser(recover=False)
    try:
        return etree.fromstring(data, parser), False
    except etree.XMLSyntaxError as e:
        # lxml stops at an undeclared prefix; all else that is wrong may be a cut.
        if any(entry.domain_name != "NAMESPACE" for entry in parser.error_log):
            reason = " ".join(str(e.msg).split())[:200]
            raise SourceError(
                f"{name} is broken XML: {reason}", "copy or download it again"
            ) from e
    root = etree.fromstring(data, _parser(recover=True))
    if root is None:
        raise SourceError(f"{name} is broken XML", "copy or download it again")
    return root, True


def _parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        recover=recover,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def local(element: Element) -> str:
    """Return the name of *element* without namespace or prefix."""
    return _plain(str(element.tag))


def _plain(name: str) -> str:
    return name.rpartition("}")[2].rpartition(":")[2]


def attribute(element: Element, name: str) -> str:
    """Return attribute *name* of *element*, of any namespace; empty if not there."""
    for key, value in element.attrib.items():
        if _plain(str(key)) == name:
            return str(value)
    return ""


def kind(element: Element) -> str:
    """Return what section *element* is: in OVF 0.9 that is in its xsi:type."""
    name = local(element)
    if name not in ("Section", "Content"):
        return name
    return _plain(attribute(element, "type")).removesuffix("_Type")


def children(element: Element, *names: str) -> Iterator[Element]:
    """Yield the children of *element* that are of one of the kinds *names*."""
    for child in element:
        if kind(child) in names:
            yield child


def descendants(element: Element, *names: str) -> Iterator[Element]:
    """Yield all that lies within *element* and is of one of the kinds *names*."""
    for child in element.iter():
        if kind(child) in names:
            yield child


def content(element: Element, name: str) -> str:
    """Return the text of the first child *name* of *element*; empty if not there."""
    for child in children(element, name):
        return (child.text or "").strip()
    return ""
