# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows guests, offline: their registry is edited in copies, and given back whole.

What a hive of the guest says is read and planned in registry.py's copies; fixes.py has
the order of all that is done.
"""
