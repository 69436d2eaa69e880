# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux guests: what is there (for inspection), and what to change (plans).

A module per concern.  Those with a ``plan`` return actions and write nothing.
"""
