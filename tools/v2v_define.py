# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v-define: create VMs on their new home."""

from pathlib import Path
from typing import Annotated

import typer

from v2v import options

app = options.application()


@app.command()
def main(
    target: Annotated[
        str,
        typer.Option(
            "-t", "--target", metavar="KIND", help="libvirt, local, qemu, null."
        ),
    ] = "local",
    connect: Annotated[
        str, typer.Option("-c", "--connect", metavar="URI", help="The libvirt to use.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for the files."),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("-n", "--network", metavar="[IN:]OUT", help="Map the networks."),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Start the VM (libvirt).")
    ] = False,
    force: options.Force = False,
    metadata: options.Metadata = None,
    state: options.State = None,
    again: options.Again = False,
    only: options.Only = "",
    allow: options.Allow = None,
    verbose: options.Verbose = 0,
    version: options.Version = False,
) -> None:
    """Create each VM, whose disks are in place, on its new home."""
    from v2v import stage, targets
    from v2v.steps import define

    wish = targets.Wish(
        output=output,
        uri=connect,
        networks=tuple(network or ()),
        force=force,
        start=start,
        allow=tuple(allow or ()),
    )
    stage.main(
        stage.Stage(
            name="define",
            check=lambda: define.check(target, wish),
            step=lambda vm: stage.Done(vm=define.define(vm, target, wish)),
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
