# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v: convert VMs by a pipeline of the five commands."""

from pathlib import Path
from typing import Annotated

import typer

from v2v import borrowed, options

# With rich the options are shown in groups, a group for each stage.
app = options.application(rich_markup_mode="rich")


@app.command(cls=borrowed.Command)
def main(
    context: typer.Context,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Where the VM goes.")
    ],
    sources: options.Sources = None,
    sources_from: options.SourcesFrom = "",
    target: Annotated[
        str,
        typer.Option(
            "-t", "--target", metavar="KIND", help="libvirt, local, qemu, null."
        ),
    ] = "",
    network: Annotated[
        list[str] | None,
        typer.Option("-n", "--network", metavar="[IN:]OUT", help="Map the networks."),
    ] = None,
    disk: Annotated[
        list[str] | None,
        typer.Option("-d", "--disk", metavar="[ID:]KEY=VALUE", help="format=, size=."),
    ] = None,
    parallel: Annotated[
        int, typer.Option("-p", "--parallel", metavar="N", min=1, help="VMs at a time.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the pipeline; run nothing.")
    ] = False,
    verbose: options.Verbose = 0,
    version: options.Version = False,
) -> None:
    """Convert each SOURCE and define it on its new home."""
    from v2v import conversion

    conversion.main(
        conversion.Asked(
            # What is on stdin is not read for a pipeline that is only shown.
            sources=tuple(sources or ())
            if dry_run and sources_from
            else options.sources(sources, sources_from),
            sources_from=sources_from,
            output=Path(conversion.folder(output)),
            target=target,
            networks=tuple(network or ()),
            disks=tuple(disk or ()),
            parallel=parallel,
            dry_run=dry_run,
            verbose=verbose,
            stages=borrowed.arguments(context),
        )
    )
