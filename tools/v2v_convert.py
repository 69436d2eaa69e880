# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v-convert: copy the disks of VMs to a new place and format."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from v2v import options

app = options.application()


@app.command()
def main(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for the disks."),
    ],
    image_format: Annotated[
        Literal["qcow2", "raw"],
        typer.Option(
            "-f", "--format", metavar="FORMAT", help="qcow2 (default) or raw."
        ),
    ] = "qcow2",
    disk: Annotated[
        list[str] | None,
        typer.Option("-d", "--disk", metavar="[ID:]KEY=VALUE", help="format=, size=."),
    ] = None,
    allocation: Annotated[
        Literal["sparse", "preallocated"],
        typer.Option(metavar="HOW", help="sparse (default), preallocated."),
    ] = "sparse",
    compress: Annotated[
        bool, typer.Option("--compress", help="Compress the new qcow2 disks.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare source and copy afterwards.")
    ] = False,
    no_verify_checksums: Annotated[
        bool,
        typer.Option("--no-verify-checksums", help="Do not check an XVA's checksums."),
    ] = False,
    keep_overlay: Annotated[
        bool, typer.Option("--keep-overlay", help="Do not delete the overlay.")
    ] = False,
    progress: Annotated[
        Literal["auto", "bar", "json", "none"],
        typer.Option(metavar="KIND", help="auto (default), bar, json or none."),
    ] = "auto",
    force: options.Force = False,
    metadata: options.Metadata = None,
    state: options.State = None,
    again: options.Again = False,
    only: options.Only = "",
    allow: options.Allow = None,
    allow_path: options.AllowPath = None,
    allow_url: options.AllowUrl = None,
    url_password: options.UrlPassword = None,
    tls_psk: options.TlsPsk = None,
    tls_dir: options.TlsDir = None,
    no_check_certificate: options.NoCheckCertificate = False,
    verbose: options.Verbose = 0,
    version: options.Version = False,
) -> None:
    """Copy the disks of each VM into a folder."""
    from v2v import access, stage
    from v2v.steps import convert

    keys = options.keys(tls_psk, tls_dir, check=not no_check_certificate)
    options.reach(url_password, tls_dir, allow_url, check=not no_check_certificate)
    asked = convert.Convert(
        output=output,
        format=image_format,
        preallocated=allocation == "preallocated",
        compressed=compress,
        verify=verify,
        checksums=not no_verify_checksums,
        keep_overlay=keep_overlay,
        force=force,
        progress=progress,
        disks=tuple(disk or ()),
    )
    stage.main(
        stage.Stage(
            name="convert",
            check=lambda: convert.check(asked),
            step=lambda vm: convert.convert(vm, asked, access.of(vm, allow_path, keys)),
            settings=stage.Settings(
                metadata=metadata,
                state=state,
                again=again,
                only=only,
                allow=tuple(allow or ()),
                verbose=verbose,
            ),
            holds=False,
        )
    )
