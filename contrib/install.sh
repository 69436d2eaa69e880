# Install what v2v needs on Debian 12 or 13.  Sourced by quickstart and tests/run, from
# the root of the tree; asks nothing, says what it installs, and does nothing twice.
# shellcheck shell=bash

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "error: $*"; exit 4; }

# as_root COMMAND...
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

check_host() {
    [ -r /etc/debian_version ] || die "this is no Debian; see contrib/packages.txt for what is needed"
    command -v apt-get >/dev/null || die "apt-get is not here"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "run this as root, or install sudo"
}

# wanted PURPOSE...: the packages for these
wanted() {
    local purpose
    for purpose; do
        sed -n "s/^$purpose: *//p" contrib/packages.txt
    done | tr -s ' ' '\n' | sort -u
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PURPOSE...
install_packages() {
    local package missing=() there=()
    for package in $(wanted "$@"); do
        is_installed "$package" || missing+=("$package")
    done
    # libguestfs runs its appliance on a kernel of this host, which a container lacks.
    compgen -G '/boot/vmlinuz-*' >/dev/null || missing+=("linux-image-cloud-$(dpkg --print-architecture)")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "updating the package lists"
    as_root apt-get -q -q update || say "warning: apt-get update failed; trying with the lists that are there"
    for package in "${missing[@]}"; do
        if [ -n "$(apt-cache policy "$package" 2>/dev/null | sed -n 's/^ *Candidate: *//p' | grep -v '(none)')" ]; then
            there+=("$package")
        elif [ "$package" != libvirt-common ]; then
            die "Debian has no package $package here; is 'main' in the apt sources?"
        fi
    done
    [ ${#there[@]} -gt 0 ] || return 0
    say "installing packages: ${there[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "${there[@]}" >&2 </dev/null ||
        die "apt-get could not install them; see above"
}

# make_venv [GROUP]: .venv with v2v, and the packages of a dependency group
make_venv() {
    local group=${1:-} stamp sum
    sum=$(sha256sum pyproject.toml contrib/build_man.py man/*.rst | sha256sum | cut -c1-16)
    stamp=".venv/v2v-${group:-run}-$sum-$(/usr/bin/python3 -c 'import sys; print(sys.version_info[1])')"
    [ ! -e "$stamp" ] || return 0
    # Of /usr/bin/python3, since Debian's bindings (nbd, guestfs, libvirt) are for that.
    if [ ! -x .venv/bin/python ]; then
        say "making .venv from /usr/bin/python3"
        /usr/bin/python3 -m venv --system-site-packages .venv || die "the virtual environment cannot be made"
    fi
    say "installing v2v into .venv${group:+, with what $group needs}"
    .venv/bin/python -m pip install -q --disable-pip-version-check --root-user-action=ignore -e . ||
        die "pip could not install v2v; see above"
    if [ -n "$group" ]; then
        .venv/bin/python contrib/group.py "$group" > ".venv/$group.txt"
        .venv/bin/python -m pip install -q --disable-pip-version-check --root-user-action=ignore \
            -r ".venv/$group.txt" || die "pip could not install the packages of $group"
    fi
    .venv/bin/python -c 'import nbd, guestfs, libvirt, typer, lxml.etree' ||
        die "a Python package is missing; see contrib/packages.txt"
    touch "$stamp"
}

# link_commands: put the commands on the PATH
link_commands() {
    local bin command made=0
    if [ "$(id -u)" = 0 ]; then bin=/usr/local/bin; else bin=$HOME/.local/bin; fi
    mkdir -p "$bin"
    for command in v2v v2v-inspect v2v-export v2v-fixup v2v-convert v2v-define; do
        [ "$(readlink -f "$bin/$command" 2>/dev/null)" = "$(readlink -f ".venv/bin/$command")" ] && continue
        ln -sfn "$PWD/.venv/bin/$command" "$bin/$command"
        made=1
    done
    if [ $made = 1 ]; then say "the commands are in $bin (links into $PWD/.venv)"; fi
    case ":$PATH:" in
        *":$bin:"*) ;;
        *) say "note: $bin is not on your PATH" ;;
    esac
}
