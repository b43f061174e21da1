# The contract of all handlers: true answers, refusals, stops, restarts, nothing left behind.
# Your own: how a message is sent; ends with 0 if the answer was positive.
exec "${POA_SERVER:-poa-server}" plugin test lines --send '
python3 - "$1" <<"END"
import socket, sys
host, port = sys.argv[1].removeprefix("tcp://").rsplit(":", 1)
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(b"pump-7 system_metrics {}\n")
    sys.exit(connection.makefile().readline() != "ok\n")
END'
