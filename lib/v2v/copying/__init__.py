# SPDX-License-Identifier: GPL-2.0-or-later
"""Move the bytes of disks, and prove that they arrived."""
