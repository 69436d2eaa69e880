# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects in S3: read in ranges by a plugin of ours for nbdkit, which uses boto3.

Credentials and region are those of AWS's own tools: ~/.aws, AWS_PROFILE,
AWS_ACCESS_KEY_ID ...; AWS_ENDPOINT_URL leads to another server than AWS's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from v2v.errors import HostError, SourceError
from v2v.views.means import Means
from v2v.views.transports import nbdkit
from v2v.views.transports.authorities import AUTHORITIES
from v2v.views.transports.found import BrokenOffError, Found
from v2v.views.urls import Url

_SCRIPT = Path(__file__).parents[1] / "plugins" / "s3.py"
# What names a file, or a folder, for boto3.
_FILES = (
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_DATA_PATH", "AWS_CA_BUNDLE"),
    "REQUESTS_CA_BUNDLE",
)
_LACKING = ("cannot open plugin", "No module named")
# What the plugin says first: the code of the service, or the name of boto3's error.
_MISSING = ("404", "NoSuchKey")
_REASONS = {
    "403": "the service refuses to give it",
    "AccessDenied": "the service refuses to give it",
    "NoSuchBucket": "there is no such bucket",
    "NoCredentialsError": "there are no credentials",
    "PartialCredentialsError": "the credentials are not whole",
    "ProfileNotFound": "there is no such profile",
    "NoRegionError": "no region is named",
    "ExpiredToken": "the credentials have expired",
    "SSLError": "the service's certificate is not trusted",
    "InvalidAccessKeyId": "the service does not know the access key",
    "SignatureDoesNotMatch": "the service does not know the secret key",
    "EndpointConnectionError": "the service cannot be reached",
    "ConnectTimeoutError": "the service gives no answer",
}
_REMEDY = (
    "check it with aws s3 ls: the credentials and region in ~/.aws or AWS_PROFILE, and "
    "AWS_ENDPOINT_URL for a service that is not AWS's"
)


def look(url: Url, means: Means) -> Found | None:
    """See Transport.  Raises HostError if this host has no boto3."""
    try:
        size = nbdkit.size(plugin(url), walls(means))
    except nbdkit.RefusedError as e:
        code = _code(e.text)
        if code in _MISSING:
            return None
        if any(said in e.text for said in _LACKING):
            raise HostError(
                "reading s3:// takes nbdkit's plugin for Python, and boto3",
                "apt-get install nbdkit-plugin-python python3-boto3",
            ) from e
        reason = _REASONS.get(code, f"the service says {code}" if code else str(e))
        raise SourceError(f"{url.shown()}: {reason}", _REMEDY) from e
    return Found(url=url, size=size)


def _code(text: str) -> str:
    """Return the code that the plugin gives, as in "v2v-s3: NoSuchKey:"."""
    return text.partition("v2v-s3: ")[2].partition(":")[0]


def plugin(url: Url) -> list[str]:
    """Return the parameters with which nbdkit serves *url*."""
    key = url.path.removeprefix("/")
    return ["python", str(_SCRIPT), f"bucket={url.host}", f"key={key}"]


def server(found: Found, means: Means) -> list[str]:
    """See Transport."""
    return nbdkit.command(plugin(found.url))


def walls(means: Means) -> list[str]:
    """See Transport: what boto3 reads, in the user's home and as the environment says.

    boto3 itself may be in the home as well.
    """
    home = Path.home()
    named = [Path(text) for name in _FILES if (text := os.environ.get(name))]
    own = [home / ".aws", home / ".local" / "lib"]
    return nbdkit.walls(_SCRIPT, *AUTHORITIES, *own, *named)


def pieces(found: Found, means: Means, start: int) -> Iterator[bytes]:
    """See Transport."""
    if start:
        raise BrokenOffError("nbdcopy goes on by itself, or not at all")
    yield from nbdkit.pieces(plugin(found.url), walls(means))
