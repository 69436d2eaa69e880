# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the requirements of a dependency group of pyproject.toml, one a line.

pip of Debian 12 does not know groups (PEP 735) yet.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
print("\n".join(project["dependency-groups"][sys.argv[1]]))
