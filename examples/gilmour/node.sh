#!/bin/sh
# A service in shell: `poa-server gilmour listen` is its node, and runs a command for each call. The data comes on standard input, the answer
# goes to standard output.
#
#     sh node.sh http://127.0.0.1:8080
exec poa-server gilmour listen upper --service --gateway "${1:-http://127.0.0.1:8080}" --exec 'tr a-z A-Z'
