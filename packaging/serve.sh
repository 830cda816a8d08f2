#!/usr/bin/env bash
# Install qgasim, serve a guest in the background, and tell the next steps of a job where: for action.yml and
# packaging/gitlab/qgasim.yml. Reads OPTIONS, LISTEN, PACKAGE; writes to GITHUB_OUTPUT and GITHUB_ENV, or to qgasim.env.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
directory=$(mktemp -d "${RUNNER_TEMP:-/tmp}/qgasim-XXXXXX")
if [ "${PACKAGE:-}" != none ]; then
    python3 -m venv "$directory/venv"
    "$directory/venv/bin/pip" install --quiet "${PACKAGE:-$here}"
    export PATH="$directory/venv/bin:$PATH"
    [ -z "${GITHUB_PATH:-}" ] || echo "$directory/venv/bin" >>"$GITHUB_PATH"
fi
mkfifo "$directory/ready"
read -r -a options <<<"${OPTIONS:-}"
qgasim "${options[@]}" --listen "${LISTEN:-unix:$directory/qga.sock}" --control "unix:$directory/control.sock" \
    --log "$directory/qga.log" --quiet --ready-fd 3 3>"$directory/ready" >"$directory/out" 2>"$directory/err" &
server=$!
# The line comes when clients can connect; the end of the file, if the server has failed.
ready=
read -r ready <"$directory/ready" || true
if [ -z "$ready" ]; then
    cat "$directory/err" >&2
    exit 2
fi
address=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["address"])' "$ready")
{
    echo "address=$address"
    echo "control=unix:$directory/control.sock"
    echo "log=$directory/qga.log"
} >>"${GITHUB_OUTPUT:-qgasim.env}"
if [ -n "${GITHUB_ENV:-}" ]; then
    {
        echo "QGASIM_CONTROL=unix:$directory/control.sock"
        echo "QGASIM_PID=$server"
    } >>"$GITHUB_ENV"
fi
echo "qgasim serves $address"
