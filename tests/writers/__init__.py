# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptions of VMs, written as their hypervisors write them."""
