# Just what v2v uses of python3-botocore.
class Config:
    def __init__(
        self, *, connect_timeout: int, read_timeout: int, retries: dict[str, int]
    ) -> None: ...
