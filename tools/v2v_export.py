# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v-export: serve the disks of VMs over NBD."""

from contextlib import ExitStack
from typing import Annotated

import typer

from v2v import options

app = options.application()


@app.command()
def main(
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Let the disks be written, in an overlay.")
    ] = False,
    listen: Annotated[
        str,
        typer.Option(metavar="HOST[:PORT]", help="Serve other hosts, by TCP and TLS."),
    ] = "",
    advertise: Annotated[
        str, typer.Option(metavar="HOST", help="The name by which others reach this.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="On a loopback address: without TLS.")
    ] = False,
    ahead: Annotated[
        int, typer.Option(metavar="N", min=1, help="Serve at most N VMs at once.")
    ] = 4,
    work: options.Work = None,
    metadata: options.Metadata = None,
    state: options.State = None,
    again: options.Again = False,
    only: options.Only = "",
    run: options.Run = "",
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
    """Serve the disks of each VM for as long as somebody reads the output."""
    from v2v import access, stage
    from v2v.steps import export

    keys = options.keys(tls_psk, tls_dir, check=not no_check_certificate)
    options.reach(url_password, tls_dir, allow_url, check=not no_check_certificate)
    asked = export.Export(
        servers=ExitStack(),
        overlay=overlay,
        work=work,
        listen=listen,
        advertise=advertise,
        insecure=insecure,
        keys=keys,
        ahead=ahead,
    )
    stage.main(
        stage.Stage(
            name="export",
            check=lambda: export.check(asked),
            step=lambda vm: export.export(
                vm, asked, access.of(vm, allow_path, keys, work)
            ),
            settings=stage.Settings(
                metadata=metadata,
                state=state,
                again=again,
                only=only,
                run=run,
                allow=tuple(allow or ()),
                verbose=verbose,
            ),
            servers=asked.servers,
        )
    )
