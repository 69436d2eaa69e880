# SPDX-License-Identifier: GPL-2.0-or-later
"""Match the regular expressions of a guest's SELinux policy, in bounded time.

A guest may write what makes a backtracking matcher run for years.  So an expression
becomes a small automaton, whose states are followed all at once (Thompson 1968): the
time is the product of its size, which is bounded, and the length of the path.  What of
PCRE no policy uses (looking ahead, references back) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

_MAX_LENGTH = 2000  # characters of an expression
_MAX_DEPTH = 20  # parentheses
_MAX_SIZE = 5000  # steps of building, and so states
_MAX_REPEAT = 255
# Any other "{" is an ordinary character, as in %{USERID}.
_BOUNDS = re.compile(r"\{([0-9]{1,3})(,([0-9]{1,3})?)?\}")
_MAX_MEMBERS = 64  # of a set: all may be tried for a character

Test = Callable[[str], bool]
_CLASSES: dict[str, Test] = {
    "d": lambda c: c in "0123456789",
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
    "s": str.isspace,
}
_POSIX: dict[str, Test] = {
    "digit": _CLASSES["d"],
    "alnum": lambda c: c.isascii() and c.isalnum(),
    "alpha": lambda c: c.isascii() and c.isalpha(),
    "lower": lambda c: c.isascii() and c.islower(),
    "upper": lambda c: c.isascii() and c.isupper(),
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
    "space": str.isspace,
}


class PatternError(ValueError):
    """The expression is not one of those that are understood."""


@dataclass
class Budget:
    """How many steps all matches together may take."""

    left: int = 20_000_000

    def spend(self, steps: int) -> None:
        """Take *steps* off.  Raises PatternError if there are none left."""
        self.left -= steps
        if self.left < 0:
            raise PatternError("the policy's patterns take too long")


def matches(pattern: str, text: str, budget: Budget | None = None) -> bool:
    """Whether all of *text* matches *pattern*.  Raises PatternError."""
    budget = budget or Budget()
    program = _program(pattern)
    budget.spend(len(program))
    states = _closure(program, [0])
    for character in text:
        states = _closure(program, _after(program, states, character))
        if not states:
            return False
        budget.spend(len(states))
    return len(program) - 1 in states


@dataclass(frozen=True)
class _State:
    """One state: it takes a character that passes ``test``, or leads on to others."""

    test: Test | None = None
    to: tuple[int, ...] = ()


def _after(program: list[_State], states: set[int], character: str) -> Iterator[int]:
    for number in states:
        test = program[number].test
        if test and test(character):
            yield number + 1


def _closure(program: list[_State], states: Iterator[int] | list[int]) -> set[int]:
    """Return *states* and all that they lead to without a character."""
    found: set[int] = set()
    waiting = list(states)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting.extend(program[number].to)
    return found


# A few hundred KiB each at most.
@lru_cache(maxsize=100)
def _program(pattern: str) -> list[_State]:
    """Return the states of *pattern*, from the first to the one that accepts."""
    if len(pattern) > _MAX_LENGTH:
        raise PatternError("it is too long")
    text = pattern.removeprefix("^")
    if text.endswith("$") and not text.endswith("\\$"):
        text = text[:-1]
    parser = _Parser(text)
    node = parser.alternatives(0)
    if parser.at != len(text):
        raise PatternError("unbalanced )")
    builder = _Builder()
    builder.add(node)
    return [*builder.states, _State()]


@dataclass(frozen=True)
class _Node:
    """A part of an expression: a test, or parts in a row, or one of them, repeated."""

    test: Test | None = None
    parts: tuple[_Node, ...] = ()
    choice: bool = False
    least: int = 1
    most: int | None = 1


@dataclass
class _Builder:
    """Makes states of nodes; each step is counted, as {255}{255} of nothing is work."""

    states: list[_State] = field(default_factory=list)
    steps: int = 0

    def add(self, node: _Node) -> None:
        """Append the states of *node*, repeated as it says."""
        self._count()
        for _ in range(node.least):
            self._once(node)
        if node.most is None:
            start = self._gap()
            self._once(node)
            self.states.append(_State(to=(start,)))
            self._close([start])
        else:
            gaps = []
            for _ in range(node.most - node.least):
                gaps.append(self._gap())
                self._once(node)
            self._close(gaps)

    def _once(self, node: _Node) -> None:
        self._count()
        if node.test:
            self.states.append(_State(test=node.test))
        elif not node.choice:
            for part in node.parts:
                self.add(part)
        else:
            self._one_of(node.parts)

    def _one_of(self, parts: tuple[_Node, ...]) -> None:
        ends = []
        for part in parts[:-1]:
            start = self._gap()
            self.add(part)
            ends.append(self._gap())
            self.states[start] = _State(to=(start + 1, len(self.states)))
        self.add(parts[-1])
        for end in ends:
            self.states[end] = _State(to=(len(self.states),))

    def _gap(self) -> int:
        """Append a state whose ways are not known yet; return its number."""
        self._count()
        self.states.append(_State())
        return len(self.states) - 1

    def _close(self, gaps: list[int]) -> None:
        """Let *gaps* lead on to what follows them, and to what comes next."""
        for gap in gaps:
            self.states[gap] = _State(to=(gap + 1, len(self.states)))

    def _count(self) -> None:
        self.steps += 1
        if self.steps > _MAX_SIZE:
            raise PatternError("it is too large")


@dataclass
class _Parser:
    """Reads an expression, one character after the other."""

    text: str
    at: int = 0

    def alternatives(self, depth: int) -> _Node:
        """Return all up to the end, or to the parenthesis that ends this group."""
        if depth > _MAX_DEPTH:
            raise PatternError("its parentheses are too deep")
        found = [self._row(depth)]
        while self._takes("|"):
            found.append(self._row(depth))
        return found[0] if len(found) == 1 else _Node(parts=tuple(found), choice=True)

    def _row(self, depth: int) -> _Node:
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self._repeated(self._atom(depth)))
        return _Node(parts=tuple(parts))

    def _takes(self, word: str) -> bool:
        if not self.text.startswith(word, self.at):
            return False
        self.at += len(word)
        return True

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise PatternError("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def _atom(self, depth: int) -> _Node:
        character = self._next()
        match character:
            case "(":
                if self._takes("?") and not self._takes(":"):
                    raise PatternError("(?")
                node = self.alternatives(depth + 1)
                if not self._takes(")"):
                    raise PatternError("unbalanced (")
                return node
            case "[":
                return _Node(test=self._set())
            case ".":
                return _Node(test=lambda c: True)
            case "\\":
                return _Node(test=self._escaped())
            case "*" | "+" | "?" | "^" | "$":
                raise PatternError(f"{character} where it means nothing")
        return _Node(test=lambda c: c == character)

    def _escaped(self) -> Test:
        character = self._next()
        if test := _CLASSES.get(character):
            return test
        if negated := _CLASSES.get(character.lower()):
            return lambda c: not negated(c)
        if character.isalnum():
            raise PatternError(f"\\{character}")
        return lambda c: c == character

    def _repeated(self, atom: _Node) -> _Node:
        bounds: tuple[int, int | None]
        if self._takes("*"):
            bounds = (0, None)
        elif self._takes("+"):
            bounds = (1, None)
        elif self._takes("?"):
            bounds = (0, 1)
        elif found := _BOUNDS.match(self.text, self.at):
            self.at = found.end()
            bounds = _bounds(found)
        else:
            return atom
        if self._takes("+"):
            raise PatternError("a possessive quantifier")
        self._takes("?")  # a lazy one: all of the text is matched anyway
        return _Node(parts=(atom,), least=bounds[0], most=bounds[1])

    def _set(self) -> Test:
        """Return the test for what follows "[": to its "]", which may come first."""
        negated = self._takes("^")
        tests: list[Test] = []
        first = True
        while first or not self._takes("]"):
            first = False
            tests.append(self._member())
            if len(tests) > _MAX_MEMBERS:
                raise PatternError("its set is too large")
        if negated:
            return lambda c: not any(test(c) for test in tests)
        return lambda c: any(test(c) for test in tests)

    def _member(self) -> Test:
        for name, test in _POSIX.items():
            if self._takes(f"[:{name}:]"):
                return test
        low = self._next()
        if low == "\\":
            return self._escaped()
        if low == "[" and self.text[self.at : self.at + 1] in ":.=":
            raise PatternError("[[")
        following = self.text[self.at : self.at + 2]
        if len(following) == 2 and following[0] == "-" and following[1] != "]":
            self.at += 1
            high = self._next()
            if high == "\\":
                high = self._next()
            if high < low:
                raise PatternError(f"{low}-{high}")
            return lambda c: low <= c <= high
        return lambda c: c == low


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    """Return what {2}, {2,} or {2,3} says."""
    least = int(found[1])
    most = int(found[3]) if found[3] else (None if found[2] else least)
    if max(least, most or 0) > _MAX_REPEAT or (most is not None and most < least):
        raise PatternError(found[0])
    return least, most
