# SPDX-License-Identifier: GPL-2.0-or-later
"""The images that VirtualBox knows: those of the machine, and those of the host's user.

A machine's own file has them from VirtualBox 4 on.  What was attached before, or was
made without a machine, stands in VirtualBox.xml alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath

from v2v.errors import SourceError
from v2v.ovf import text
from v2v.ovf.text import Element, attribute, children, descendants
from v2v.sources import descriptions

FILE = "VirtualBox.xml"
# In VirtualBox 3 a machine is at Machines/NAME/NAME.xml beside that.
_ABOVE = 3

Images = Mapping[str, Element]


def images(holder: Element) -> Images:
    """Return the images of the registry in *holder*, by UUID: disks, CDs, floppies."""
    found: dict[str, Element] = {}
    for registry in children(holder, "MediaRegistry"):
        for image in descendants(registry, "HardDisk", "Image"):
            if name := descriptions.uuid_of(attribute(image, "uuid")):
                found.setdefault(name, image)
    return found


def of_user(path: Path, kind: text.Kind) -> Images:
    """Return the images in the VirtualBox.xml that lies with the machine *path*.

    It is beside it or at most three folders above; their locations are absolute then.
    Raises SourceError if it is none, or broken.
    """
    for folder in (path.parent, *path.parent.parents[:_ABOVE]):
        file = folder / FILE
        # What a link leads to, nobody has named.
        if file != path and not file.is_symlink() and descriptions.head(file, 1):
            data = descriptions.content(file, text.MAX_SIZE, kind.what)
            root, _ = text.tree(data, str(file), kind)
            return {
                name: _absolute(image, folder)
                for holder in children(root, "Global")
                for name, image in images(holder).items()
            }
    return {}


def _absolute(image: Element, folder: Path) -> Element:
    place = attribute(image, "location")
    if place and not place.startswith("/") and not PureWindowsPath(place).drive:
        image.set("location", str(folder / place))
    return image


def listed(root: Element, path: Path) -> SourceError:
    """Return the error that *path* holds no machine, with those that it names."""
    places = [attribute(entry, "src") for entry in descendants(root, "MachineEntry")]
    remedy = "name the .vbox in the machine's folder"
    if places:
        remedy = f"name one of its machines: {', '.join(_shown(places))}"
    return SourceError(f"{path} describes no machine", remedy)


def _shown(places: list[str]) -> Iterator[str]:
    for place in places[:5]:
        yield " ".join(f"{place:.200}".split())
