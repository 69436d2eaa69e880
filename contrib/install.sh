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
    command -v apt-get >/dev/null || die "this is no Debian; contrib/packages.txt says what is needed"
    [ "$(release)" -ge 12 ] || die "this Debian is too old: v2v needs Debian 12 or later"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "run this as root, or install sudo"
}

# Debian's number; testing has none
release() {
    sed -n 's/^VERSION_ID="\?\([0-9]*\).*/\1/p' /etc/os-release | grep . || echo 99
}

# wanted PURPOSE...: the packages for these
wanted() {
    local purpose
    for purpose; do
        sed -n "s/^$purpose: *//p" contrib/packages.txt
        [ "$(release)" -lt 13 ] || sed -n "s/^$purpose\/13: *//p" contrib/packages.txt
    done | tr -s ' ' '\n' | sort -u
}

# missing PURPOSE...: those that are not installed
missing() {
    local there
    there=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u)
    comm -13 <(echo "$there") <(wanted "$@")
    # libguestfs runs its appliance on a kernel of this host, which a container lacks.
    compgen -G '/boot/vmlinuz-*' >/dev/null || echo "linux-image-cloud-$(dpkg --print-architecture)"
}

# install_packages PURPOSE...
install_packages() {
    local packages=()
    mapfile -t packages < <(missing "$@")
    [ ${#packages[@]} -gt 0 ] || return 0
    say "installing packages: ${packages[*]}"
    as_root apt-get -q -q update || say "warning: apt-get update failed; trying with the lists that are there"
    # The lock: a machine just started may be installing its own updates.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --no-install-recommends "${packages[@]}" >&2 </dev/null ||
        die "apt-get could not install them; see above (they are in Debian's 'main')"
}

# make_venv run|GROUP: .venv with v2v, and the packages of a dependency group
make_venv() {
    local group=$1 stamp sum
    # What is in it knows where it lies: a tree that was moved or copied needs another.
    sum=$({ pwd; /usr/bin/python3 -V; cat pyproject.toml contrib/build_man.py man/*.rst; } | sha256sum | cut -c1-16)
    stamp=.venv/v2v-$group-$sum
    [ ! -e "$stamp" ] || return 0
    if [ "$(cat .venv/v2v-place 2>/dev/null)" != "$PWD" ] || ! .venv/bin/python -m pip -V >/dev/null 2>&1; then
        say "making .venv from /usr/bin/python3"
        # Debian's bindings (nbd, guestfs, libvirt) are for that Python.
        /usr/bin/python3 -m venv --clear --system-site-packages .venv || die "the virtual environment cannot be made"
        pwd > .venv/v2v-place
    fi
    say "installing v2v into .venv, for $group"
    pip_install -e . || die "pip could not install v2v; see above"
    if [ "$group" != run ]; then
        .venv/bin/python contrib/group.py "$group" > ".venv/$group.txt"
        pip_install -r ".venv/$group.txt" || die "pip could not install the packages of $group"
    fi
    .venv/bin/python -c 'import nbd, guestfs, libvirt, typer, lxml.etree' ||
        die "a Python package is missing; see contrib/packages.txt"
    touch "$stamp"
}

pip_install() {
    .venv/bin/python -m pip install -q --disable-pip-version-check --root-user-action=ignore "$@" </dev/null
}

# link_commands: put the commands on the PATH, and their manual where man looks then
link_commands() {
    local home page made=0
    if [ "$(id -u)" = 0 ]; then home=/usr/local; else home=$HOME/.local; fi
    for page in .venv/bin/v2v .venv/bin/v2v-*; do
        link "$page" "$home/bin"
    done
    for page in .venv/share/man/man*/v2v*; do
        link "$page" "$home/share/man/$(basename "$(dirname "$page")")"
    done
    if [ $made = 1 ]; then say "the commands are in $home/bin (links into $PWD/.venv)"; fi
    case ":$PATH:" in
        *":$home/bin:"*) ;;
        *) say "note: $home/bin is not on your PATH; log in again, or: export PATH=\"$home/bin:\$PATH\"" ;;
    esac
}

# link FILE FOLDER: make it there, and say so by made=1
link() {
    local target=$PWD/$1 name
    name=$2/$(basename "$1")
    [ "$(readlink "$name")" != "$target" ] || return 0
    if [ -e "$name" ] && [ ! -L "$name" ]; then
        say "note: $name is somebody else's, and stays"
        return 0
    fi
    mkdir -p "$2"
    ln -sfn "$target" "$name"
    made=1
}
