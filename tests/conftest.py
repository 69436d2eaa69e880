from pathlib import Path

import pytest


@pytest.fixture
def shared() -> Path:
    p = Path(__file__).parents[2] / "shared"
    if not p.is_dir():
        pytest.skip("needs ../shared")
    return p
