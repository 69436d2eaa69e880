# SPDX-License-Identifier: GPL-2.0-or-later
"""Read containers that qemu reads slowly, wrongly or not at all, without copying them.

A container's reader yields pieces: which stretch of the disk lies where in the file.
They are written down as the tables of a qcow2 image whose data clusters are the
container itself, and qemu reads that as it reads any image: no byte is copied, no
server stands in between.
"""
