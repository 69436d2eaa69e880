# SPDX-License-Identifier: GPL-2.0-or-later
r"""What is left for a Windows guest itself to do, at its first boots.

run.cmd runs the steps in the background, tries those that fail at some more boots, and
removes itself.  It is started as a service that is cmd.exe (facts 3.3 A), or by Setup's
command line (B), with no program but Windows' own.  %SystemRoot%\v2v\firstboot keeps
log.txt and, when all is over, complete: a result in JSON.
"""

from __future__ import annotations

from v2v.guests.windows.firstboot.planning import plan
from v2v.guests.windows.firstboot.restore import FINDINGS, findings
from v2v.guests.windows.firstboot.steps import NETWORK, Step

__all__ = ["FINDINGS", "NETWORK", "Step", "findings", "plan"]
