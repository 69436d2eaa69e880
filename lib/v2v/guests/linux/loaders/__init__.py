# SPDX-License-Identifier: GPL-2.0-or-later
"""What each boot loader's files say: a module per loader, from texts to values.

None of them opens a file, and none generates one anew: what is to be different is
changed in place, in the text that is there.
"""
