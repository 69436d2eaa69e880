# SPDX-License-Identifier: GPL-2.0-or-later
"""Write lib/v2v/schema/vm.json, the JSON Schema of a VM document."""

import json
from pathlib import Path

from v2v.document import VM

PATH = Path(__file__).parents[1] / "lib" / "v2v" / "schema" / "vm.json"


def schema() -> str:
    """Return the schema as the file has it."""
    return json.dumps(VM.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(schema())
