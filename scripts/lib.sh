# shellcheck shell=bash
# shellcheck disable=SC2034  # the scripts that source this file use the other variables
# What all scripts here share: paths, messages, commands as root or as the server's user. Source it, don't run it.
set -euo pipefail

# `su` without `-` leaves root without sbin, and sudo drops the Rust toolchain from the path.
for folder in /usr/sbin /sbin "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"; do
    [[ :$PATH: == *:$folder:* ]] || PATH=$PATH:$folder
done
# A server that inherits RUST_BACKTRACE walks its stack at every raised error.
unset RUST_BACKTRACE RUST_LIB_BACKTRACE CDPATH
# A caller's PGHOST or PGSERVICE must not lead a test to a real database.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGDATA PGAPPNAME

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/versions.env
. "$ROOT/scripts/versions.env"

TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
[[ $TARGET == /* ]] || TARGET=$ROOT/$TARGET
WORK=$TARGET/tasker          # what these scripts leave behind: logs, stamps, the virtual environment
LOGS=$WORK/logs
VENV=$WORK/venv
# Survives `make clean` and is shared by every checkout: building cargo-pgrx takes minutes.
TOOLS=${XDG_CACHE_HOME:-${HOME:-$WORK}/.cache}/tasker_ext
# Prometheus and its SQL exporter, as Debian's packages hold them.
MONITORING=$TOOLS/monitoring
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}
# pgrx looks for its configuration here; our own, so that ~/.pgrx is neither needed nor touched.
export PGRX_HOME=$WORK/pgrx-home PG_CONFIG
SERVER_USER=${TASKER_SERVER_USER:-postgres}

say() { printf '%s\n' "$*"; }
SELF=${0##*/}
warn() { printf '%s: %s\n' "$SELF" "$*" >&2; }
die() { warn "$*"; exit 1; }

# run_logged LOG COMMAND...: quiet when it works; the end of the log, and where it is, when it does not.
run_logged() {
    local log=$1 status=0
    shift
    mkdir -p "$(dirname "$log")"
    NO_COLOR=1 CARGO_TERM_COLOR=never "$@" > "$log" 2>&1 < /dev/null || status=$?
    [[ $status -eq 0 ]] && return 0
    tail -n 30 "$log" >&2
    warn "failed (exit $status): ${*:1:4}; the whole log: $log"
    return "$status"
}

# as_root COMMAND...: directly when we are root, with sudo otherwise; asks for a password only at a terminal.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif ! command -v sudo > /dev/null; then
        die "this step needs root: run it as root, or install sudo (wanted: $1)"
    elif sudo -n true 2> /dev/null; then
        sudo -n "$@"
    elif [[ -z ${CI:-} ]] && { : > /dev/tty; } 2> /dev/null; then
        sudo "$@"
    else
        die "this step needs root, and sudo asks for a password, but there is no terminal (wanted: $1)"
    fi
}

# as_server_user COMMAND...: PostgreSQL refuses to run as root, so as root its commands run as SERVER_USER, otherwise as ourselves.
# With a clean environment, and in /, because that user might have no access to this checkout.
as_server_user() (
    cd /
    local clean=(env -i "PATH=/usr/bin:/bin:/usr/sbin:/sbin" "LANG=C.UTF-8" "HOME=/")
    # scripts/coverage: where an instrumented library writes its counts.
    [[ -z ${LLVM_PROFILE_FILE:-} ]] || clean+=("LLVM_PROFILE_FILE=$LLVM_PROFILE_FILE")
    [[ $EUID -eq 0 ]] || exec "${clean[@]}" "$@"
    id -u "$SERVER_USER" > /dev/null 2>&1 || die "no user $SERVER_USER to run PostgreSQL as (set TASKER_SERVER_USER)"
    if command -v runuser > /dev/null; then
        exec runuser -u "$SERVER_USER" -- "${clean[@]}" "$@"
    fi
    exec sudo -n -u "$SERVER_USER" -- "${clean[@]}" "$@"
)

# server_scratch NAME: a new private folder whose path is short enough for a socket and open to the server's user.
server_scratch() {
    local base
    for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        [[ -d $base && ${#base} -le 60 ]] || continue
        as_server_user test -x "$base" 2> /dev/null || continue
        mktemp -d "$base/$1.XXXXXX"
        return
    done
    die "no folder for the server: neither TMPDIR, /tmp nor /var/tmp can be entered by user $SERVER_USER"
}

# Written only when it changes: pgrx's build script runs again whenever the file is touched.
write_pgrx_home() {
    local wanted
    wanted=$(printf '[configs]\npg%s = "%s"' "$(pg_major)" "$PG_CONFIG")
    mkdir -p "$PGRX_HOME"
    [[ -f $PGRX_HOME/config.toml && $(< "$PGRX_HOME/config.toml") == "$wanted" ]] || printf '%s\n' "$wanted" > "$PGRX_HOME/config.toml"
}

pg_major() { "$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'; }

# The version of the extension that these sources make.
extension_version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# Where the files for the server of PG_CONFIG are laid out, and what is installed there. A checkout can build for several servers.
server_stage() { printf '%s/stage-%s\n' "$WORK" "$(server_key)"; }
server_stamp() { printf '%s/installed-%s\n' "$WORK" "$(server_key)"; }
server_key() { printf '%s' "$PG_CONFIG" | cksum | cut -d ' ' -f 1; }

# The kind of build that is installed, dev or release. The stamp: kind of build, fingerprint of what it was built from, then the check sums of
# the installed files. Without one (another checkout, after `make clean`) the library itself tells: only dev builds carry debug information.
installed_profile() {
    local library stamp
    library=$("$PG_CONFIG" --pkglibdir)/tasker_ext.so
    stamp=$(server_stamp)
    if [[ ! -f $library ]]; then
        echo dev
    elif [[ -f $stamp ]]; then
        sed -n 1p "$stamp"
    elif [[ $(readelf --section-headers --wide "$library" 2> /dev/null) == *.debug_info* ]]; then
        echo dev
    else
        echo release
    fi
}

# The pgrx feature of the selected server, for plain cargo commands: one argument a line.
pg_features() { printf '%s\n' --no-default-features --features "pg$(pg_major)"; }

# cargo-pgrx of exactly our version: the one on the path if it is, else our own.
find_cargo_pgrx() {
    local candidate
    for candidate in cargo-pgrx "$TOOLS/cargo-pgrx-$PGRX_VERSION/bin/cargo-pgrx"; do
        if [[ $("$candidate" pgrx --version 2> /dev/null) == "cargo-pgrx $PGRX_VERSION" ]]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}
