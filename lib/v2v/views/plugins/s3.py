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
    timeouts = Config(connect_timeout=30, read_timeout=60, retries={"max_attempts": 3})
    try:
        client = boto3.client(
            "s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL"), config=timeouts
        )
        facts = client.head_object(Bucket=_settings["bucket"], Key=_settings["key"])
    except (BotoCoreError, ClientError, ValueError) as e:
        raise _told(e) from e
    return Object(client=client, size=facts["ContentLength"], tag=facts["ETag"])


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
