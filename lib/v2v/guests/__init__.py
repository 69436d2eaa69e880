# SPDX-License-Identifier: GPL-2.0-or-later
"""Look into guests, and change them so that they run on KVM.

By mechanism (which boot loader's files, which initramfs, which network stack are there)
and not by a list of distributions.
"""
