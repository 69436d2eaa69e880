#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Do what v2v left for the guest itself, at its first boots.
#
# Each step is a folder: script, network (there if it needs one), state, count, exit.
# A step that fails is tried again at the next boot; when none is left to try, all of
# this removes itself.  The log and status.json stay.  For any POSIX sh.

root=${V2V_ROOT-}
proc=${V2V_PROC:-/proc}
boots=${V2V_BOOTS:-5}   # at which a step is tried
tries=${V2V_TRIES:-3}   # at one boot, of a step that needs the network
pause=${V2V_PAUSE:-60}  # seconds between them
limit=${V2V_LIMIT:-1800} # seconds that a step may take
patience=${V2V_PATIENCE:-120} # seconds for a network to appear

home=$root/var/lib/v2v
steps=$home/firstboot
log=$home/firstboot.log
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
exec 2>> "$log"

say() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') $*" >> "$log"
}

# content FILE DEFAULT: the first line
content() {
    line=
    if [ -s "$1" ]; then read -r line < "$1"; fi
    echo "${line:-$2}"
}

# put FILE TEXT: whole or not at all
put() {
    echo "$2" > "$1.new" && mv -f "$1.new" "$1"
}

# has_route: whether the kernel knows a way out, by IPv4 or IPv6
has_route() {
    if [ -r "$proc/net/route" ]; then
        while read -r _ destination _; do
            [ "$destination" != 00000000 ] || return 0
        done < "$proc/net/route"
    fi
    if [ -r "$proc/net/ipv6_route" ]; then
        while read -r destination length _ _ _ _ _ _ _ device; do
            case $destination-$length-$device in
                *-lo) ;;
                00000000000000000000000000000000-00-*) return 0 ;;
            esac
        done < "$proc/net/ipv6_route"
    fi
    return 1
}

# connected: wait for a network, once
network=unknown
connected() {
    waited=0
    while [ "$network" = unknown ]; do
        if has_route; then
            network=yes
        elif [ "$waited" -ge "$patience" ]; then
            network=no
        else
            sleep 1
            waited=$((waited + 1))
        fi
    done
    [ "$network" = yes ]
}

# guard PID: end the group of PID, or PID alone, if it takes too long
guard() {
    left=$limit
    while [ "$left" -gt 0 ]; do
        sleep 1
        left=$((left - 1))
    done
    say "it takes longer than $limit s, and is ended"
    kill -TERM "-$1" 2>/dev/null || kill -TERM "$1" 2>/dev/null
    sleep 5
    kill -KILL "-$1" 2>/dev/null || kill -KILL "$1" 2>/dev/null
}

# bounded SCRIPT: run it, for a limited time; its status
bounded() {
    first=$(content "$1" '')
    case $first in
        '#!/bin/sh' | '#! /bin/sh') set -- /bin/sh "$1" ;; # even where noexec forbids it
        '#!'*) ;;
        *) set -- /bin/sh "$1" ;;
    esac
    if command -v setsid > /dev/null 2>&1; then
        # A session of its own is a group that can be ended as a whole.
        setsid "$@" < /dev/null >> "$log" 2>&1 &
    else
        "$@" < /dev/null >> "$log" 2>&1 &
    fi
    child=$!
    guard "$child" < /dev/null > /dev/null 2>&1 &
    watch=$!
    wait "$child"
    status=$?
    kill "$watch" 2>/dev/null
    wait "$watch" 2>/dev/null
    return "$status"
}

# attempt STEP: at this boot; its status
attempt() {
    if [ ! -e "$1/network" ]; then
        bounded "$1/script"
        return
    fi
    if ! connected; then
        say "no network"
        return 1
    fi
    try=1
    while ! bounded "$1/script"; do
        [ "$try" -lt "$tries" ] || return "$status"
        try=$((try + 1))
        sleep "$pause"
    done
}

# take STEP: try it, and note what became of it
take() {
    count=$(($(content "$1/count" 0) + 1))
    # A step of which nothing can be noted would be run at every boot for ever.
    put "$1/count" "$count" || return 1
    sync # the count must survive a step that takes the machine down
    say "${1##*/}: boot $count of $boots"
    attempt "$1"
    status=$?
    say "${1##*/}: status $status"
    put "$1/exit" "$status"
    if [ "$status" = 0 ]; then
        put "$1/state" ok
    elif [ "$count" -ge "$boots" ]; then
        put "$1/state" failed
    fi
}

# report DONE: status.json, for people and for the host (by the guest agent)
report() {
    comma=
    {
        printf '{"v2v": 1, "done": %s, "steps": [' "$1"
        for step in "$steps"/[0-9][0-9]-*; do
            [ -f "$step/script" ] || continue
            name=${step##*/}
            printf '%s\n  {"name": "%s", "state": "%s", "boots": %s, "exit": %s}' \
                "$comma" "${name#*-}" "$(content "$step/state" pending)" \
                "$(content "$step/count" 0)" "$(content "$step/exit" null)"
            comma=,
        done
        printf '\n]}\n'
    } > "$home/status.json.new"
    mv -f "$home/status.json.new" "$home/status.json"
}

# leave: remove all that starts this, and the steps
leave() {
    for path in \
        "$root"/etc/systemd/system/multi-user.target.wants/v2v-firstboot.service \
        "$root"/etc/systemd/system/v2v-firstboot.service \
        "$root"/etc/runlevels/default/v2v-firstboot \
        "$root"/etc/init.d/rc[0-9].d/S99v2v-firstboot \
        "$root"/etc/rc.d/rc[0-9].d/S99v2v-firstboot \
        "$root"/etc/rc[0-9].d/S99v2v-firstboot \
        "$root"/etc/init.d/v2v-firstboot; do
        rm -f "$path"
    done
    rm -rf "$steps"
}

pending=0
for step in "$steps"/[0-9][0-9]-*; do
    [ -f "$step/script" ] || continue
    if [ "$(content "$step/state" pending)" = pending ]; then
        take "$step" || exit 0
        report false
    fi
    [ "$(content "$step/state" pending)" != pending ] || pending=1
done
if [ "$pending" = 0 ]; then
    report true
    leave
fi
exit 0
