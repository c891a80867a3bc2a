# shellcheck shell=sh
# Bare roots of Debian releases, for scripts/package and scripts/test-packages, which read this file.
#
# They lie in .venv/roots and stay there; with `rm -r .venv/roots` they are made anew. What a command changes in one is
# thrown away after it. The servers are those of DEBIAN_MIRROR; proxies of this machine's apt, and what pip is told here
# by its configuration and its variables, hold inside as well.
# shellcheck source=packaging/shared.sh
. ./packaging/shared.sh
DEBIAN_MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# What has to be on this machine.
need_roots() {
    command -v dpkg-query >/dev/null || fail "this is not Debian"
    for program in debootstrap git; do
        ! command -v "$program" >/dev/null || continue
        say "installing $program"
        quietly apt-get update
        DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "$program"
    done
}

# make_root RELEASE KIND PACKAGE...: the root RELEASE-KIND with these packages, from a bare one; a root to build in has
# what packaging/debian/control asks for as well. Sets $root.
make_root() {
    release=$1
    kind=$2
    root=$ROOTS/$1-$2
    shift 2
    wanted="$* $([ "$kind" != build ] || cksum <packaging/debian/control)"
    [ "$(cat "$root.made" 2>/dev/null)" != "$wanted" ] || return 0
    bare=$ROOTS/$release
    if [ ! -f "$bare.made" ]; then
        say "making a bare root of $release"
        rm -rf "$bare"
        quietly debootstrap --variant=minbase --include=ca-certificates "$release" "$bare" "$DEBIAN_MIRROR"
        # Nothing starts in there.
        printf '#!/bin/sh\nexit 101\n' >"$bare/usr/sbin/policy-rc.d"
        chmod 755 "$bare/usr/sbin/policy-rc.d"
        {
            echo "deb $DEBIAN_MIRROR $release main"
            echo "deb $DEBIAN_MIRROR $release-updates main"
        } >"$bare/etc/apt/sources.list"
        date >"$bare.made"
    fi
    say "making the root ${root##*/}"
    rm -rf "$root" "$root.made"
    cp -a "$bare" "$root"
    configure "$root"
    [ "$kind" != build ] || install -D -m 644 packaging/debian/control "$root/build-deps/debian/control"
    quietly unshare --mount --pid --kill-child env -u TMPDIR chroot "$root" sh -euc '
        mount -t proc proc /proc
        export DEBIAN_FRONTEND=noninteractive
        apt-get update
        apt-get upgrade -y
        apt-get install -y --no-install-recommends "$@"
        [ ! -d /build-deps ] || apt-get build-dep -y --no-install-recommends /build-deps' sh "$@"
    echo "$wanted" >"$root.made"
}

# How this machine reaches the network, as far as the root needs it.
configure() {
    cp -L /etc/resolv.conf "$1/etc/resolv.conf"
    apt-config dump Acquire | grep -Ei '^Acquire::(https?|retries)' >"$1/etc/apt/apt.conf.d/00machine" || true
    for file in /etc/pip.conf /etc/xdg/pip /root/.pip /root/.config/pip; do
        [ -e "$file" ] || continue
        mkdir -p "$1${file%/*}"
        cp -RL "$file" "$1${file%/*}/"
    done
}

# in_root ROOT SCRIPT ARGUMENT...: runs a shell script in a root as it was made. $OUT of this machine is /out in there.
in_root() {
    lower=$1 script=$2
    shift 2
    layer=$(mktemp -d "$ROOTS/layer.XXXXXX")
    status=0
    # shellcheck disable=SC2016  # the inner shell's words
    unshare --mount --pid --kill-child sh -euc '
        lower=$1 layer=$2 out=$3
        shift 3
        mkdir "$layer/upper" "$layer/work" "$layer/root"
        # These options have no safe way to write a path with a colon or a comma.
        cd "$layer"
        mount -t overlay -o "lowerdir=../${lower##*/},upperdir=upper,workdir=work" bare-root root
        cd root
        mount -t proc proc proc
        mount --rbind /dev dev
        mount --rbind /sys sys
        mkdir -p out
        mount --bind "$out" out
        # A proxy may have a certificate that this machine was told of.
        [ ! -d /etc/ssl/certs ] || mount --bind /etc/ssl/certs etc/ssl/certs
        # Of the variables here, what says how to reach the network, and the time of a build.
        for name in $(env | sed -n "s/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p"); do
            case $name in
            PATH | PIP_* | *_proxy | *_PROXY | SOURCE_DATE_EPOCH) ;;
            *) unset "$name" ;;
            esac
        done
        exec chroot . env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
            sh -euc "$@"' sh "$lower" "$layer" "$OUT" "$script" sh "$@" || status=$?
    rm -rf "$layer"
    return $status
}
