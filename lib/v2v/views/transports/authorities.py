# SPDX-License-Identifier: GPL-2.0-or-later
"""Where systems keep the certificates of authorities, and settings of OpenSSL."""

from pathlib import Path

# Not all of /etc/ssl: its "private" has keys.
AUTHORITIES = tuple(
    map(
        Path,
        (
            *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf"),
            *("/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem"),
            *("/etc/pki/ca-trust/extracted", "/etc/pki/tls/openssl.cnf"),
            *("/etc/ca-certificates", "/var/lib/ca-certificates"),
        ),
    )
)
