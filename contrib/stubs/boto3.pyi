# Just what v2v uses of python3-boto3.
from typing import Any

from botocore.config import Config

def client(service: str, *, endpoint_url: str | None, config: Config) -> Any: ...
