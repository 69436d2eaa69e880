# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v-inspect: describe VMs, and look into their disks."""

from functools import partial
from typing import Annotated

import typer

from v2v import options

app = options.application()


@app.command()
def main(
    sources: options.Sources = None,
    sources_from: options.SourcesFrom = "",
    kind: Annotated[
        str, typer.Option("-i", "--input", metavar="KIND", help="Kind of the sources.")
    ] = "",
    input_format: Annotated[
        str,
        typer.Option(
            "--input-format", metavar="FORMAT", help="Format of plain disk images."
        ),
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Call the VM so.")
    ] = "",
    mac: Annotated[
        list[str] | None,
        typer.Option("--mac", metavar="MAC", help="MAC of the first (second...) NIC."),
    ] = None,
    no_guest: Annotated[
        bool, typer.Option("--no-guest", help="Do not look into the disks.")
    ] = False,
    key: options.Key = None,
    max_size: options.MaxSize = "",
    no_verify_manifest: Annotated[
        bool, typer.Option("--no-verify-manifest", help="Do not check an OVA's sums.")
    ] = False,
    verify_certificate: Annotated[
        str,
        typer.Option(metavar="TRUST", help="Whose signature an OVA must bear."),
    ] = "",
    deployment_option: Annotated[
        str, typer.Option(metavar="ID", help="Take this deployment option of an OVF.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Say whether all can be converted.")
    ] = False,
    allow: options.Allow = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Write documents, on a terminal too.")
    ] = False,
    print_source: Annotated[
        bool, typer.Option("--print-source", help="Show the source, as virt-v2v does.")
    ] = False,
    state: options.State = None,
    again: options.Again = False,
    only: options.Only = "",
    run: options.Run = "",
    allow_path: options.AllowPath = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="<FROM=TO>", help="Where a folder of it is."),
    ] = None,
    allow_url: options.AllowUrl = None,
    url_password: options.UrlPassword = None,
    tls_psk: options.TlsPsk = None,
    tls_dir: options.TlsDir = None,
    no_check_certificate: options.NoCheckCertificate = False,
    verbose: options.Verbose = 0,
    version: options.Version = False,
) -> None:
    """Describe VMs as documents, one a line; on a terminal, as a summary."""
    from v2v import access, formats, stage, summary
    from v2v.sources import Request
    from v2v.steps import inspect

    settings = stage.Settings(
        state=state,
        again=again,
        only="",
        run=run,
        allow=tuple(allow or ()),
        verbose=verbose,
    )
    if input_format and input_format not in formats.names():
        raise typer.BadParameter(f"--input-format: one of {', '.join(formats.names())}")
    allowed = (*(allow_path or ()), *options.mapped(map_))
    named = options.sources(sources, sources_from)
    if name and len(named) > 1:
        raise typer.BadParameter("--name goes with one SOURCE")
    if verify_certificate and no_verify_manifest:
        raise typer.BadParameter("a signature is one of the manifest: verify both")
    requests = [
        Request(
            location=location,
            format=input_format or None,  # type: ignore[arg-type]
            allow=allowed,
            verify_manifest=not no_verify_manifest,
            trust=verify_certificate,
            option=deployment_option,
            digests_now=check,
        )
        for location in named
    ]
    shows = summary.chosen(documents=json_, virt_v2v=print_source)
    if check and not json_:
        shows = partial(summary.verdict, allowed=settings.allow)
    keys = options.keys(tls_psk, tls_dir, check=not no_check_certificate)
    options.reach(url_password, tls_dir, allow_url, check=not no_check_certificate)
    wanted = inspect.Wanted(
        kind=kind,
        guest=not (no_guest or print_source),
        keys=tuple(key or ()),
        only=only,
        rename=name,
        trust=verify_certificate,
        max_size=options.size(max_size),
        # MAC:ip:... is for v2v-fixup; v2v hands each stage all that it has.
        macs=tuple(word for word in mac or () if ":ip:" not in word),
    )
    stage.main(
        stage.Stage(
            name="inspect",
            check=lambda: inspect.check(wanted),
            step=lambda vm: inspect.examine(
                vm, access.of(vm, allowed, keys), guest=wanted.guest, keys=wanted.keys
            ),
            settings=settings,
            vms=inspect.describe(requests, wanted, None if again else settings.store),
            gates=False,
            judges=check,
            holds=False,
            shows=shows,
        )
    )
