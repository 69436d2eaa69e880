# SPDX-License-Identifier: GPL-2.0-or-later
"""What each stage does to a VM: VM -> VM, one module per stage."""
