# shellcheck shell=bash
# shellcheck disable=SC2034,SC2016  # the scripts that source this file use the variables; the backquotes are Markdown
# For benchmarks in SQL alone: starts their own durable server and records what was measured where.
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

THROWAWAY=${TASKER_THROWAWAY_SERVER:-$ROOT/scripts/throwaway-server}

# start_server SETTING...: sets DSN; the server goes with the script.
start_server() {
    local setting confs=()
    SETTINGS=("$@")
    SCRATCH=$(server_scratch tasker-bench)
    trap '"$THROWAWAY" remove "$SCRATCH/s" > /dev/null 2>&1; rm -rf "$SCRATCH"' EXIT
    trap 'exit 130' INT TERM
    chmod 711 "$SCRATCH"
    for setting in "$@"; do confs+=(--conf "$setting"); done
    DSN=$("$THROWAWAY" start --durable "${confs[@]}" "$SCRATCH/s")
}

sql() { "$("$PG_CONFIG" --bindir)/psql" "$DSN" -X -v ON_ERROR_STOP=1 "$@"; }

# heading TITLE COMMAND: which machine, server and code; nothing that names a host or a folder.
heading() {
    local revision build=release setting
    revision=$(git -C "$ROOT" rev-parse --short HEAD 2> /dev/null || echo unknown)
    [[ -z $(git -C "$ROOT" status --porcelain -- src sql crates Cargo.toml 2> /dev/null) ]] || revision+=' with uncommitted changes'
    # An unoptimized library is several times as large.
    [[ $(stat -c %s "$("$PG_CONFIG" --pkglibdir)/tasker_ext.so") -lt 20000000 ]] || build=dev
    printf '# Results: %s\n\n' "$1"
    printf -- '- date: %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
    printf -- '- code: %s, %s build of the extension\n' "$revision" "$build"
    printf -- '- machine: %s cores, %s GB of memory, %s\n' "$(nproc)" "$(awk '/^MemTotal:/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$(uname -sm)"
    printf -- '- server: %s, durable; otherwise as installed but for' "$("$PG_CONFIG" --version)"
    for setting in "${SETTINGS[@]}"; do printf ' `%s`' "${setting/=/ = }"; done
    printf '\n- load average at the start: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
    printf -- '- command: `%s`\n\n' "$2"
}
