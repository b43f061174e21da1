"""A handler for poa: takes lines `agent type json` over TCP, and answers `ok` once the message is safe."""

import itertools
import json
import os
import queue
import socket
import socketserver
import sys
import threading

LONGEST = 64 << 10  # bytes of a line with its end: whatever a stranger can make grow has a bound
CONNECTIONS = 1000  # at once; a further one is closed

writing = threading.Lock()
numbers = itertools.count(1)
waiting = {}  # what was sent and not answered yet, by number
connections = set()
stopping = threading.Event()


def say(**frame):
    line = json.dumps(frame, allow_nan=False)  # NaN and Infinity are not valid JSON: a ValueError
    with writing:
        print(line, flush=True)


def send(agent, data_type, data):
    """Gives a message to the receivers, and waits until it is as safe as the host promises."""
    number = next(numbers)
    answer = waiting[number] = queue.SimpleQueue()
    message = {"agent_id": agent, "data_type": data_type, "data": data}
    try:
        say(type="send", id=number, messages=[message])
    except ValueError:
        del waiting[number]
        raise
    return answer.get()


class Lines(socketserver.StreamRequestHandler):
    """Your own: the protocol. Serves one connection until it ends, breaks, or the host stops."""

    def handle(self):
        while line := self.rfile.readline(LONGEST):
            if stopping.is_set() or not line.endswith(b"\n"):
                break
            try:
                agent, data_type, data = line.decode().split(" ", 2)
                result = send(agent, data_type, json.loads(data))
            except (ValueError, RecursionError):
                result = {"ok": False, "reason": "a line is `agent type json`"}
            answer = "ok" if result["ok"] else "error: " + result["reason"]
            self.wfile.write(answer.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True  # after a crash the port is not free at once

    def verify_request(self, connection, address):
        return len(connections) < CONNECTIONS

    def process_request(self, connection, address):
        connections.add(connection)
        super().process_request(connection, address)

    def shutdown_request(self, connection):
        connections.discard(connection)
        super().shutdown_request(connection)

    def handle_error(self, connection, address):
        print("DEBUG:", sys.exc_info()[1], file=sys.stderr)  # a broken connection does not affect others

    def service_actions(self):  # by the thread that accepts: when it hangs, the host hears nothing, and starts another child
        say(type="alive")


def end():
    """Accepts nothing new, answers what was taken, and ends."""
    server.shutdown()
    for connection in list(connections):
        try:
            connection.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # it is closed already
    server.server_close()  # waits until the last answer is written
    os._exit(0)  # the main thread still reads


hello = json.loads(sys.stdin.readline())
server = Server(("127.0.0.1", hello["options"]["port"]), Lines)
say(type="ready", protocol=1, heartbeat=5, endpoints=["tcp://127.0.0.1:%d" % server.server_address[1]])
threading.Thread(target=server.serve_forever, args=(0.5,), daemon=True).start()

for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "stop":
        stopping.set()
        threading.Thread(target=end).start()
    else:
        waiting.pop(frame["id"]).put(frame)
os._exit(1)  # the host is gone, so no answer will come
