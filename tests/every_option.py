# SPDX-License-Identifier: GPL-2.0-or-later
"""Give every option of a command values that nobody meant.

As a program (COMMAND SOURCE, a stream of documents on stdin) it prints what the command
did wrong, a line each.  A fork for each case, so that the start-up is paid once.
"""

import importlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import NoReturn

import typer

MODULES = {
    **{f"v2v-{word}": f"v2v_{word}" for word in ("inspect", "export", "convert")},
    **{f"v2v-{word}": f"v2v_{word}" for word in ("fixup", "define")},
    "v2v": "v2v_all",
}
VALUES = ("foo", "9" * 20, "/dev/null/x", "\u202e\x1b[31mred\n%s{0}:")
# As the man pages have them; a signal is none of them, and 70 is a bug.
STATUSES = (*range(5), *range(10, 16))
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]")
_SECONDS = 60
# These are given a source; all others read a stream.
_READERS = ("v2v", "v2v-inspect")


def cases(app: typer.Typer) -> Iterator[str]:
    for option in typer.main.get_command(app).params:
        is_flag = getattr(option, "is_flag", False) or getattr(option, "count", False)
        if option.param_type_name == "option" and not is_flag and option.name != "run":
            for value in VALUES:
                yield f"{max(option.opts, key=len)}={value}"


def others(command: str, given: str, source: str) -> list[str]:
    """Return the arguments that make *command* work but for the option *given*."""
    words = []
    if command in ("v2v", "v2v-define") and "--target" not in given:
        words += ["-t", "null"]
    if command in ("v2v", "v2v-convert") and "--output" not in given:
        words += ["-o", "out"]
    if command == "v2v":
        words += ["--dry-run"]
    if command == "v2v-inspect":
        words += ["--no-guest"]
    return words + ([source] if command in _READERS else [])


def run(app: typer.Typer, words: list[str], stream: bytes) -> tuple[int, str]:
    """Return the status of *app* with *words*, and what it said."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(stream)
        given.seek(0)
        child = os.fork()
        if not child:
            _become(app, words, given.fileno(), said.fileno())
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode(errors="replace")


def _become(app: typer.Typer, words: list[str], given: int, said: int) -> NoReturn:
    os.dup2(given, 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    signal.alarm(_SECONDS)
    status = 70
    try:
        app(words)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 1
    except BaseException:  # noqa: BLE001 - as an interpreter would, whatever it is
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wrong(status: int, said: str) -> str:
    """Return what a command that ended with *status* must not have done, or nothing.

    Where it did what was asked, it may say that as it was asked.
    """
    if "Traceback" in said or status not in STATUSES:
        return f"status {status}"
    if status and _CONTROL.search(said):
        return "control characters"
    if status and not said.strip():
        return "no word"
    return ""


def main(command: str, source: str) -> None:
    """Print what *command* does wrong with any of its options."""
    app = importlib.import_module(MODULES[command]).app
    stream = sys.stdin.buffer.read()
    status, said = run(app, others(command, "", source), stream)
    if status:
        print("without any of them: status", status, repr(said[-300:]))
    for given in cases(app):
        status, said = run(app, [given, *others(command, given, source)], stream)
        if reason := wrong(status, said):
            print(repr(given), reason, repr(said[-300:]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
