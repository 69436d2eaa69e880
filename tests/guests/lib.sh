# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Helpers shared by the fixture builders.  Source this file first:
#
#     . "$(dirname "$(readlink -f "$0")")/lib.sh"
#
# Sourcing re-executes the calling script in a private mount namespace, so
# that every mount made by a builder disappears with it, however it ends.
# Inside that namespace /dev is a small tmpfs in which the image under
# construction appears as /dev/sda (not /dev/loopN): the guest's own
# grub-install, update-grub, update-initramfs and dracut then write what they
# would have written on the real machine.
#
# No device-mapper, no KVM and no libguestfs appliance are needed.

set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "must run as root" >&2; exit 1; }

IMAGES=${IMAGES:-/var/tmp/v2v-guests/images}
CACHE=${CACHE:-/var/tmp/v2v-guests/cache}
SUITE=${SUITE:-bookworm}
KERNEL=${KERNEL:-linux-image-cloud-amd64}
mkdir -p "$IMAGES" "$CACHE"

if [ "${FIXTURE_NS:-}" != "$$" ]; then
    # The marker holds the pid, which survives exec: a builder called by
    # another builder still gets a namespace of its own.
    # In a chroot that is no mount point "/" cannot be made private.
    if unshare --mount --propagation private true 2>/dev/null; then mode=private; else mode=unchanged; fi
    FIXTURE_NS=$$ exec unshare --mount --propagation $mode "$BASH" "$0" "$@"
fi
# What we mount over /dev must not reach the host's.
awk '{print $5}' /proc/self/mountinfo | while read -r point; do
    mount --make-private "$point" 2>/dev/null || true
done

WORK=$(mktemp -d /tmp/fixture.XXXXXX)
LOOPS=()
START=$(date +%s)

detach() {
    partx -d "$1" 2>/dev/null || true
    losetup -d "$1" 2>/dev/null || true
}

cleanup() {
    local rc=$? l
    trap - EXIT
    cd /
    umount -R "$WORK/root" 2>/dev/null || true
    for l in "${LOOPS[@]}"; do detach "$l"; done
    if mountpoint -q "$WORK/dev"; then umount -R -l /dev; umount -R -l "$WORK/dev"; fi 2>/dev/null || true
    if ! grep -q " $WORK/root" /proc/self/mountinfo; then
        rm -rf --one-file-system "$WORK"
    fi
    exit $rc
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '[%4ds] %s\n' $(( $(date +%s) - START )) "$*" >&2; }
die() { say "error: $*"; exit 1; }
need() {
    local c
    for c in "$@"; do command -v "$c" >/dev/null || die "missing command: $c"; done
}

# A /dev with only the harmless nodes and the loop devices in it.
private_dev() {
    local d="$WORK/dev" n i
    mkdir -p "$d"
    mount -t tmpfs -o mode=755 fixture-dev "$d"
    for n in null zero full random urandom tty console; do
        [ -e /dev/$n ] && cp -a /dev/$n "$d/$n"
    done
    mknod "$d/loop-control" c 10 237
    [ -e /dev/fuse ] && cp -a /dev/fuse "$d/"
    for i in $(seq 0 63); do mknod "$d/loop$i" b 7 "$i"; done
    ln -s /proc/self/fd "$d/fd"
    ln -s fd/0 "$d/stdin"; ln -s fd/1 "$d/stdout"; ln -s fd/2 "$d/stderr"
    mkdir "$d/shm" "$d/pts"
    mount -t tmpfs fixture-shm "$d/shm"
    mount -t devpts -o newinstance,ptmxmode=666 fixture-pts "$d/pts"
    ln -s pts/ptmx "$d/ptmx"
    mount --rbind "$d" /dev
}

# attach_disk IMAGE NAME: make IMAGE appear as /dev/NAME, /dev/NAME1, ...
attach_disk() {
    local img=$1 name=$2 loop base p n major minor
    loop=$(losetup --find --show "$img")
    LOOPS+=("$loop")
    # partx, not --partscan: the kernel may be built without MBR/GPT parsers
    partx -a "$loop" 2>/dev/null || partx -u "$loop" || true
    base=${loop#/dev/}
    mknod "/dev/$name" b 7 "${base#loop}"
    for p in /sys/block/$base/${base}p*; do
        [ -e "$p" ] || continue
        n=${p##*p}
        IFS=: read -r major minor < "$p/dev"
        mknod "/dev/$name$n" b "$major" "$minor"
    done
}

# attach_range NODE IMAGE OFFSET SIZE: a byte range of a file as NODE (stands
# in for a linear logical volume, which is one).
attach_range() {
    local node=$1 loop
    loop=$(losetup --find --show --offset "$3" --sizelimit "$4" "$2")
    LOOPS+=("$loop")
    mkdir -p "$(dirname "$node")"
    mknod "$node" b 7 "${loop#/dev/loop}"
}

# link_uuid DEVICE UUID: what udev would have made; grub-mkconfig looks there.
link_uuid() {
    mkdir -p /dev/disk/by-uuid
    ln -sf "$1" "/dev/disk/by-uuid/$2"
}

# new_image PATH SIZE
new_image() { rm -f "$1"; truncate -s "$2" "$1"; }

# rootfs NAME PACKAGE...: path of a cached mmdebstrap tar with these packages.
# The kernel comes with them; initramfs settings are in place before it, so
# that the image made by its postinst is final.
# LEFT_OUT is a pattern of files that its packages shall not bring.
rootfs() {
    local name=$1 key tar; shift
    key=$(printf '%s\n' "$SUITE" "$KERNEL" "${LEFT_OUT:-}" "$@" | sha256sum | cut -c1-10)
    tar="$CACHE/$name-$key.tar"
    # Two guests may be made from one tar, at the same time.
    exec 9> "$CACHE/.$name-$key.lock"
    flock 9
    if [ ! -s "$tar" ]; then
        say "mmdebstrap $name: $KERNEL $*"
        local inc; inc=$(IFS=,; echo "$KERNEL,$*")
        mmdebstrap --quiet --variant=minbase --keyring=/usr/share/keyrings \
            --dpkgopt=force-unsafe-io \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/info/*' \
            ${LEFT_OUT:+--dpkgopt="path-exclude=$LEFT_OUT"} \
            --setup-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
            --setup-hook='printf "COMPRESS=lz4\n" > "$1/etc/initramfs-tools/conf.d/compress"' \
            --include="$inc" "$SUITE" "${tar%.tar}.part.tar" >&2 ||
            die "mmdebstrap could not make $name"
        mv "${tar%.tar}.part.tar" "$tar"
    fi
    exec 9>&-
    echo "$tar"
}

# unpack TAR: into $WORK/root
unpack() {
    say "unpacking $(basename "$1")"
    tar --numeric-owner --xattrs --xattrs-include='*' -xf "$1" -C "$WORK/root" --exclude='./dev/*'
}

# Mount what a chroot needs / undo it.
chroot_up() {
    local r="$WORK/root"
    mount --rbind /dev "$r/dev"
    mount -t proc proc "$r/proc"
    mount -t sysfs -o ro sysfs "$r/sys"
    mount -t tmpfs tmpfs "$r/run"
}
chroot_down() {
    local r="$WORK/root" m
    for m in run sys proc dev; do umount -R "$r/$m"; done
}
in_guest() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \
        DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 \
        chroot "$WORK/root" "$@"
}

# debian_common HOSTNAME: settings every Debian guest has.
debian_common() {
    local r="$WORK/root"
    echo "$1" > "$r/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$1" > "$r/etc/hosts"
    rm -f "$r/etc/resolv.conf"; echo 'nameserver 192.0.2.1' > "$r/etc/resolv.conf"
    : > "$r/etc/machine-id"
    # root's password is "fixture"
    in_guest usermod -p '$6$fixture$GrGWMZn9lG4a70aqeX3pSG2vmtuCRiY/6689hLVoW6bXPlMNPk7AJ2i2F4dc9ICEyEzXqJ.GRTf9eDOq56pIA/' root
    cat > "$r/etc/default/grub" <<'X'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
GRUB_DISABLE_OS_PROBER=true
X
    # Reports, on the serial console, what a boot test wants to know.
    cat > "$r/usr/local/sbin/fixture-report" <<'X'
#!/bin/sh
# Part of the test fixture: say on every console what this boot looks like.
root=$(findmnt -n -o SOURCE /)
data=$(findmnt -n -o SOURCE /data || echo none)
swap=$(awk 'NR>1{printf "%s%s",s,$1; s=","}' /proc/swaps)
# An address that comes up by an event may come a little later than this report.
for i in $(seq 20); do
    up=yes
    for d in /sys/class/net/*; do
        [ -e $d/device/driver ] && [ ! -e $d/master ] || continue
        ip -4 -o addr show dev ${d##*/} 2>/dev/null | grep -q inet || up=
    done
    [ -z "$up" ] || break
    sleep 1
done
nics=$(cd /sys/class/net && for n in *; do
    [ -e $n/device/driver ] || continue
    a=$(ip -4 -o addr show dev $n 2>/dev/null | awk '{print $4; exit}')
    printf '%s%s:%s:%s' "$s" $n "$(basename $(readlink $n/device/driver))" "${a:-noaddr}"; s=,; done)
over=$(cd /sys/class/net && for n in *; do
    [ ! -e $n/device/driver ] && [ $n != lo ] || continue
    a=$(ip -4 -o addr show dev $n 2>/dev/null | awk '{print $4; exit}')
    printf '%s%s:%s' "$s" $n "${a:-noaddr}"; s=,; done)
echo "FIXTURE-REPORT kernel=$(uname -r) root=$root data=$data swap=${swap:-none} nics=${nics:-none} over=${over:-none} failed=$(systemctl --failed --no-legend --plain | awk '{printf "%s%s",s,$1; s=","}')" > /dev/console
X
    chmod 755 "$r/usr/local/sbin/fixture-report"
    cat > "$r/etc/systemd/system/fixture-report.service" <<'X'
[Unit]
Description=Fixture boot report
After=network.target local-fs.target swap.target systemd-user-sessions.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/fixture-report

[Install]
WantedBy=multi-user.target
X
    in_guest systemctl enable -q fixture-report.service
    # Timers and catalogues only cost time under emulation.
    in_guest systemctl mask -q apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer \
        systemd-journal-catalog-update.service systemd-pcrphase.service \
        systemd-pcrphase-sysinit.service
}

# static_ens192: as left behind by a VMware installation
static_ens192() {
    cat > "$WORK/root/etc/network/interfaces" <<'X'
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

# The primary network interface
allow-hotplug ens192
iface ens192 inet static
	address 192.0.2.20/24
	gateway 192.0.2.1
	dns-nameservers 192.0.2.1
X
}

# The same in the files of other network stacks; each takes over from ifupdown.
static_netplan() {
    mkdir -p "$WORK/root/etc/netplan"
    cat > "$WORK/root/etc/netplan/01-netcfg.yaml" <<'X'
# The primary network interface
network:
  version: 2
  renderer: networkd
  ethernets:
    ens192:
      addresses: [192.0.2.20/24]
      nameservers:
        addresses: [192.0.2.1]
      routes:
        - to: default
          via: 192.0.2.1
X
    chmod 600 "$WORK/root/etc/netplan/01-netcfg.yaml"
}
static_networkmanager() {
    local folder="$WORK/root/etc/NetworkManager/system-connections"
    mkdir -p "$folder"
    cat > "$folder/Wired connection 1.nmconnection" <<'X'
[connection]
id=Wired connection 1
uuid=5c7d4d44-9d2f-4c36-9d1b-0a1e6c9f0001
type=ethernet
interface-name=ens192

[ipv4]
method=manual
address1=192.0.2.20/24,192.0.2.1
dns=192.0.2.1;

[ipv6]
method=ignore
X
    # NetworkManager passes over what others can read.
    chmod 600 "$folder/Wired connection 1.nmconnection"
}
static_networkd() {
    cat > "$WORK/root/etc/systemd/network/ens192.network" <<'X'
[Match]
Name=ens192

[Network]
Address=192.0.2.20/24
Gateway=192.0.2.1
X
    in_guest systemctl enable -q systemd-networkd.service
}
# Two cards under a bond, and the address on a VLAN over it.
static_bond() {
    local folder="$WORK/root/etc/systemd/network" card
    printf '[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n' > "$folder/bond0.netdev"
    printf '[NetDev]\nName=vlan100\nKind=vlan\n\n[VLAN]\nId=100\n' > "$folder/vlan100.netdev"
    for card in ens192 ens224; do
        printf '[Match]\nName=%s\n\n[Network]\nBond=bond0\n' "$card" > "$folder/$card.network"
    done
    printf '[Match]\nName=bond0\n\n[Network]\nVLAN=vlan100\nLinkLocalAddressing=no\n' > "$folder/bond0.network"
    printf '[Match]\nName=vlan100\n\n[Network]\nAddress=192.0.2.20/24\n' > "$folder/vlan100.network"
    in_guest systemctl enable -q systemd-networkd.service
}

# finish IMAGE: unmount, detach, report
finish() {
    local img=$1 l
    sync -f "$img"
    if mountpoint -q "$WORK/root"; then umount -R "$WORK/root"; fi
    for l in "${LOOPS[@]}"; do detach "$l"; done
    LOOPS=()
    sleep 0.3
    fallocate --dig-holes "$img"
    say "$(basename "$img"): $(du -h --apparent-size "$img" | cut -f1) virtual, $(du -m "$img" | cut -f1) MiB on disk"
}
