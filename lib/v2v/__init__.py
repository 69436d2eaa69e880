# SPDX-License-Identifier: GPL-2.0-or-later
"""Convert virtual machines, one small step at a time."""

__version__ = "0.1.0"
