# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds of a description whatever it says: it is a document, or one clear line."""

import json
from collections.abc import Callable

from v2v.document import VM, decode, encode_vm
from v2v.errors import SourceError


def gives_a_document_or_one_line(read: Callable[[], VM]) -> None:
    try:
        vm = read()
    except SourceError as e:
        assert "\n" not in e.message
    else:
        assert decode(json.loads(json.dumps(encode_vm(vm)))).name == vm.name
