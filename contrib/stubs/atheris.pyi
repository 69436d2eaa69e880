# Just what v2v's tests use of atheris.
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

def instrument_imports(
    include: Sequence[str] = ...,
) -> AbstractContextManager[None]: ...
def Setup(
    argv: Sequence[str], test_one_input: Callable[[bytes], None]
) -> Sequence[str]: ...
def Fuzz() -> None: ...
