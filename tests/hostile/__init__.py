# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile sources, written by tests: what a stranger can put into a file to do harm."""
