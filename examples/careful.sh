#!/bin/sh
# Whether a guest's agent is alive, in a shell: `qgasim drill --all -- examples/careful.sh {socket}`.
# Needs socat. It synchronises first and never waits for long; status 0: alive, 1: not.
LC_ALL=C; export LC_ALL

if [ "$1" = --talk ]; then
    # Standard input and output are the agent's socket here, standard error is what is told.
    mark=$(printf '\377')
    id=$$
    printf '%s{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' "$mark" "$id"
    while read -r line; do
        # What comes before 0xFF and our own number answers an earlier request.
        case ${line##*"$mark"} in "{\"return\": $id}"* | "{\"return\":$id}"*) break ;; esac
    done
    echo '{"execute":"guest-ping"}'
    read -r line
    case $line in '{"return"'*) echo alive >&2 ;; *) echo "no ping: $line" >&2 ;; esac
    exit
fi

for pause in 0.1 0.2 0; do
    told=$(timeout "${2:-2}" socat UNIX-CONNECT:"$1" EXEC:"$0 --talk" 2>&1)
    case $told in *alive*) echo alive; exit 0 ;; esac
    sleep $pause
done
echo "no answer: ${told:-silence}" >&2
exit 1
