# Just what v2v and its tests use of python3-boto3.
from typing import Any

from botocore.config import Config

def client(
    service: str,
    *,
    endpoint_url: str | None,
    config: Config | None = None,
    region_name: str | None = None,
    aws_access_key_id: str | None = None,
    aws_secret_access_key: str | None = None,
) -> Any: ...
