# SPDX-License-Identifier: GPL-2.0-or-later
"""A plugin for nbdkit: one object of S3, read-only, in ranges.

nbdkit-python-plugin(3) runs it in Debian's own Python; nothing of v2v is there.  What
goes wrong is said as "v2v-s3: CODE: text".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import boto3
import nbdkit
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

API_VERSION = 2
_settings: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object as it was when it was opened: another in its place is an error."""

    client: Any
    size: int
    tag: str


def thread_model() -> int:
    """Let several reads run at once: clients of boto3 may be shared."""
    model: int = nbdkit.THREAD_MODEL_PARALLEL
    return model


def config(key: str, value: str) -> None:
    """Take a parameter: bucket=, key=."""
    _settings[key] = value


def config_complete() -> None:
    """Refuse to start without both."""
    if not {"bucket", "key"} <= _settings.keys():
        raise RuntimeError("v2v-s3: usage: bucket=BUCKET key=KEY")


def open(readonly: bool) -> Object:
    """Return the object, after a look at it."""
    try:
        client = _client()
        facts = _facts(client)
    except (BotoCoreError, ClientError, ValueError) as e:
        raise _told(e) from e
    return Object(client=client, size=facts["ContentLength"], tag=facts["ETag"])


def _client() -> Any:
    # boto3 knows these variables itself from 1.28 on; Debian 12 has 1.26.
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    endpoint = next((url for name in names if (url := os.environ.get(name))), None)
    # A bucket is no host in the DNS of whoever runs a service of their own.
    style = {"s3": {"addressing_style": "path"}} if endpoint else {}
    retries = {"max_attempts": 3}
    settings = Config(connect_timeout=30, read_timeout=60, retries=retries, **style)
    return boto3.client("s3", endpoint_url=endpoint, config=settings)


def _facts(client: Any) -> Any:
    """Return what HEAD says of the object; for its errors, which have no text, ask
    for the first byte."""
    place = {"Bucket": _settings["bucket"], "Key": _settings["key"]}
    try:
        return client.head_object(**place)
    except ClientError:
        client.get_object(**place, Range="bytes=0-0")
        raise


def get_size(found: Object) -> int:
    """Return the size in bytes."""
    return found.size


def can_multi_conn(found: Object) -> bool:
    """Tell clients that several connections show the same."""
    return True


def pread(found: Object, buffer: bytearray, offset: int, flags: int) -> None:
    """Fill *buffer* with what is at *offset*."""
    last = offset + len(buffer) - 1
    try:
        answer = found.client.get_object(
            Bucket=_settings["bucket"],
            Key=_settings["key"],
            Range=f"bytes={offset}-{last}",
            IfMatch=found.tag,
        )
        data = answer["Body"].read()
    except (BotoCoreError, ClientError, OSError) as e:
        raise _told(e) from e
    if len(data) != len(buffer):
        raise RuntimeError(f"v2v-s3: short: {len(data)} bytes at {offset}")
    buffer[:] = data


def _told(e: Exception) -> RuntimeError:
    code = type(e).__name__
    if isinstance(e, ClientError):
        code = e.response.get("Error", {}).get("Code", code)
    return RuntimeError(f"v2v-s3: {code}: {e}")
