# SPDX-License-Identifier: GPL-2.0-or-later
"""Read OVF packages: the description in XML, and the files that it comes with.

Sources: DMTF DSP0243 (OVF 1.1 and 2.1) and files in the wild, which keep to it only
roughly; so names are compared without their namespaces and every field may be absent.
"""
