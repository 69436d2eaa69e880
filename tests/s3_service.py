# SPDX-License-Identifier: GPL-2.0-or-later
"""S3 as moto simulates it, with users, keys and signatures that are looked at."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from pipelines import wait_for

REGION = "eu-central-1"
_MAY_ALL = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


@dataclass(frozen=True, kw_only=True)
class Service:
    """Where it is, and the keys of a user who may do everything, and of one who may
    do nothing: access key and secret key."""

    url: str
    keys: tuple[str, str]
    others: tuple[str, str]

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what leads there, without keys; *folder* is a home without any."""
        return {
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def service(folder: Path, bucket: str) -> Iterator[Service]:
    """Run moto's server, with the files in *folder* in *bucket*."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: _answers(port) or server.poll() is not None, 60)
        yield _filled(f"http://127.0.0.1:{port}", folder, bucket)
    finally:
        server.terminate()
        server.wait()


def _filled(url: str, folder: Path, bucket: str) -> Service:
    client = _client(url, "s3")
    client.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    for file in folder.iterdir():
        client.upload_file(str(file), bucket, file.name)
    users = _client(url, "iam")
    keys = [_user(users, name) for name in ("owner", "stranger")]
    users.put_user_policy(
        UserName="owner", PolicyName="all", PolicyDocument=json.dumps(_MAY_ALL)
    )
    # From now on all that comes must be signed by one of them.
    plain = {"Content-Type": "text/plain"}
    asked = Request(f"{url}/moto-api/reset-auth", b"0", plain, method="POST")
    urlopen(asked).close()
    return Service(url=url, keys=keys[0], others=keys[1])


def _client(url: str, kind: str) -> Any:
    import boto3

    return boto3.client(
        kind,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def _user(users: Any, name: str) -> tuple[str, str]:
    users.create_user(UserName=name)
    key = users.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
