#!/bin/sh
# A node of the Gilmour gateway in shell: `poa-server gilmour listen` is its HTTP server, a command its handler.
#
#     ./node.sh http://127.0.0.1:8080 messages.jsonl
#
# It answers requests of `upper`, and is a receiver of poa for the topic `store.system_metrics`: it appends each message as a line, and refuses
# those without a `cpu_load` for good (exit code 65), so that they become dead letters.
set -eu
gateway=${1:-http://127.0.0.1:8080}
export FILE="${2:-messages.jsonl}"
poa=${POA_SERVER:-poa-server}

"$poa" gilmour listen upper --service --gateway "$gateway" --exec 'tr a-z A-Z' &
service=$!
"$poa" gilmour listen store.system_metrics --service --gateway "$gateway" --exec '
    message=$(cat)
    case $message in
        *\"cpu_load\"*) printf "%s\n" "$message" >> "$FILE" ;;
        *) echo "a message needs a cpu_load"; exit 65 ;;
    esac' &
receiver=$!
trap 'kill "$service" "$receiver"' INT TERM
wait
