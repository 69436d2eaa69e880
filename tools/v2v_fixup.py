# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v-fixup: change the guest inside so that it runs well on KVM."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from v2v import options, ordered

# With rich the options are shown in groups.
app = options.application(rich_markup_mode="rich")


@app.command(cls=ordered.Customizable)
def main(
    context: typer.Context,
    made_for: Annotated[
        str, typer.Option("--for", metavar="TARGET", help="Where the VM will run.")
    ] = "libvirt",
    agent: Annotated[
        Literal["auto", "no"],
        typer.Option(metavar="WHEN", help="Guest agent: auto (default) or no."),
    ] = "auto",
    agent_packages: Annotated[
        Path | None,
        typer.Option(
            "--agent-packages",
            metavar="DIR",
            help="Install the agent from DIR's files.",
        ),
    ] = None,
    root: Annotated[
        str,
        typer.Option("--root", metavar="DEVICE", help="The system to fix, of many."),
    ] = "",
    key: options.Key = None,
    mac: Annotated[
        list[str] | None,
        typer.Option(
            "--mac",
            metavar="MAC:ip:ADDRESS...",
            help="Give the NIC with this MAC another static address.",
        ),
    ] = None,
    remove_tools: Annotated[
        bool,
        typer.Option(
            "--remove-tools", help="Remove the old tools' packages at first boot."
        ),
    ] = False,
    virtio_win: Annotated[
        Path | None,
        typer.Option(
            "--virtio-win",
            metavar="PATH",
            help="Where the drivers for Windows are.",
        ),
    ] = None,
    trust_publisher: Annotated[
        bool,
        typer.Option(
            "--trust-publisher", help="Have Windows trust who signed its drivers."
        ),
    ] = False,
    firstboot_method: Annotated[
        Literal["service", "setup", "none"],
        typer.Option(
            "--firstboot-method",
            metavar="HOW",
            help="How Windows runs scripts at first boot.",
        ),
    ] = "service",
    discard_hibernation: Annotated[
        bool,
        typer.Option(
            "--discard-hibernation", help="Give up what a hibernated Windows has open."
        ),
    ] = False,
    force_dirty_hive: Annotated[
        bool,
        typer.Option(
            "--force-dirty-hive", help="Take a registry that cannot be completed."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
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
    """Make the guest of each VM boot and run on its new machine; all or nothing."""
    from v2v import access, stage
    from v2v.steps import fixup, inside

    asked = inside.Fixup(
        made_for=made_for,
        agent=agent == "auto",
        agent_packages=agent_packages,
        root=root or None,
        keys=tuple(key or ()),
        macs=tuple(mac or ()),
        remove_tools=remove_tools,
        virtio_win=virtio_win,
        trust_publisher=trust_publisher,
        firstboot=firstboot_method,
        discard_hibernation=discard_hibernation,
        force_dirty_hive=force_dirty_hive,
        dry_run=dry_run,
        work=work,
        operations=ordered.operations(context),
    )
    keys = options.keys(tls_psk, tls_dir, check=not no_check_certificate)
    options.reach(url_password, tls_dir, allow_url, check=not no_check_certificate)
    stage.main(
        stage.Stage(
            name="fixup",
            check=lambda: inside.check(asked),
            step=lambda vm: fixup.fixup(
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
        )
    )
