# shellcheck shell=sh
# What the scripts that build and test a release have in common; they read this file at the top of the checkout.
ROOTS=$PWD/.venv/roots

say() {
    echo "${0##*/}: $1"
}

fail() {
    echo "${0##*/}: $1" >&2
    exit 1
}

# Shows the output of a command only where it fails.
quietly() {
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "this failed: $*"
    fi
    rm -f "$log"
}

# alone PREPARATION ARGUMENT...: goes on in a run of the same script with these arguments, after this command or function;
# one at a time in a checkout. Whatever ends it, an interrupt as well, takes along all that the run has started and mounted,
# and its files that are not results. Scripts that such a run calls belong to it.
alone() {
    [ "${MXALLOWD_ALONE:-}" != "$PWD" ] || return 0
    [ "$(id -u)" = 0 ] || fail "run it as root: it makes bare roots, and mounts"
    preparation=$1
    shift
    mkdir -p "$ROOTS"
    run='' own=''
    trap end_run EXIT
    trap 'echo "${0##*/}: interrupted" >&2; exit 1' HUP INT TERM
    # What is started here keeps the lock, too.
    exec 9>"$ROOTS/lock"
    if ! flock --nonblock 9; then
        say "another script builds or tests in this checkout; waiting for its end"
        flock 9 &
        run=$!
        wait "$run"
    fi
    run=
    sweep
    TMPDIR=$(mktemp -d)
    export TMPDIR
    own=$TMPDIR
    "$preparation"
    # A shell does not heed a signal as long as a command runs, but it does while it waits.
    set -- env MXALLOWD_ALONE="$PWD" "./scripts/${0##*/}" "$@"
    if unshare --mount --pid --fork --mount-proc true 2>/dev/null; then
        # unshare 2.38 has an error of its own to tell when what it runs is killed.
        # shellcheck disable=SC2016  # the inner shell's words
        setpriv --pdeathsig KILL unshare --mount --pid --mount-proc --kill-child \
            sh -c 'exec "$@" 2>&8 8>&-' alone "$@" 8>&2 2>/dev/null &
    else
        setsid "$@" &
    fi
    run=$!
    status=0
    wait "$run" || status=$?
    run=
    exit "$status"
}

end_run() {
    trap '' HUP INT TERM
    # One that only waited has nothing to clear away.
    [ -n "$own" ] || return 0
    if [ -n "$run" ]; then
        # The end of a namespace's first process is also that of all others in there.
        first=$(cat "/proc/$run/task/$run/children" 2>/dev/null || true)
        # shellcheck disable=SC2086  # a list of words
        kill -KILL ${first:-"$run"} 2>/dev/null || true
        kill -KILL -- "-$run" 2>/dev/null || true
        wait "$run" 2>/dev/null || true
    fi
    rm -rf "$own"
    sweep
}

# Clears away what no run may leave: also that of one which was killed.
sweep() {
    for left in "$ROOTS"/layer.* "$ROOTS"/out.*; do
        [ ! -d "$left" ] || clear_layer "$left"
    done
}

clear_layer() {
    # The control group of a machine of scripts/test-packages.
    # shellcheck disable=SC2016  # the inner shell's words
    [ ! -d "$1/cgroup" ] || unshare --mount sh -c 'mount -t cgroup2 cgroup2 "$1/cgroup" && cd "$1/cgroup" &&
        find "mxallowd-packages.${1##*.}" -depth -type d -exec rmdir {} +' clear "$1" 2>/dev/null || true
    rm -rf --one-file-system "$1"
}

# ask_git ARGUMENT...: its answer. Where it has none, one line says why, and what to do.
ask_git() {
    command -v git >/dev/null || fail "git is missing, which knows what belongs to this clone: apt-get install git"
    {
        problem=$(LC_ALL=C git "$@" 2>&1 >&3) || case $problem in
        *"dubious ownership"*)
            fail "git does not trust this clone, since another user ($(stat -c %U .)) owns it:\
 chown -R $(id -un): '$PWD', or git config --global --add safe.directory '$PWD'"
            ;;
        *) fail "git cannot tell what belongs to this clone (git $1): $(echo "$problem" | head -n 1)" ;;
        esac
    } 3>&1
}

# Seconds since 1970 that all of a release has in it: `python -m release epoch` without Python.
epoch() {
    if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
        case $SOURCE_DATE_EPOCH in
        *[!0-9]*) fail "SOURCE_DATE_EPOCH=\"$SOURCE_DATE_EPOCH\" is no number of seconds" ;;
        esac
        echo "$SOURCE_DATE_EPOCH"
    elif [ -e .git ]; then
        ask_git log -1 --format=%ct
    else
        find . -maxdepth 1 -type f -exec stat -c %Y {} + | sort -n | tail -n 1
    fi
}

# copy_sources DIRECTORY OPTION...: there, what `git ls-files` lists with these options, as it is now; from an unpacked
# source distribution all of it.
copy_sources() {
    there=$1
    shift
    list=$(mktemp)
    if [ -e .git ]; then
        ask_git ls-files -z "$@" >"$list"
    else
        find . \( -path ./.venv -o -path ./dist -o -path ./build -o -name __pycache__ -o -name '*.so' \
            -o -name '*.egg-info' \) -prune -o \( -type f -o -type l \) -print0 >"$list"
    fi
    [ -s "$list" ] || fail "there are no sources here"
    # Not by a pipe: it would hide that the first tar failed.
    tar --create --null --files-from="$list" --file="$list.tar" || fail "not all sources can be read: see above"
    tar --extract --no-same-owner --directory="$there" --file="$list.tar"
    rm "$list" "$list.tar"
}
