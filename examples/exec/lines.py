"""A handler for poa: takes lines `agent type json` over TCP, and answers `ok` once the message is safe."""

import itertools
import json
import queue
import socketserver
import sys
import threading

writing = threading.Lock()
numbers = itertools.count(1)
waiting = {}  # what was sent and not answered yet, by number


def say(**frame):
    with writing:
        print(json.dumps(frame), flush=True)


def send(agent, data_type, data):
    """Gives a message to the receivers, and waits until it is as safe as the host promises."""
    number, answer = next(numbers), queue.SimpleQueue()
    waiting[number] = answer
    message = {"agent_id": agent, "data_type": data_type, "data": data}
    say(type="send", id=number, messages=[message])
    return answer.get()


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            try:
                agent, data_type, data = line.decode().split(" ", 2)
                result = send(agent, data_type, json.loads(data))
            except ValueError:
                result = {"ok": False, "reason": "a line is `agent type json`"}
            answer = "ok" if result["ok"] else "error: " + result["reason"]
            self.wfile.write(answer.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True  # after a crash the port is not free at once
    daemon_threads = True


hello = json.loads(sys.stdin.readline())
server = Server(("127.0.0.1", hello["options"]["port"]), Lines)
say(type="ready", protocol=1, endpoints=["tcp://127.0.0.1:%d" % server.server_address[1]])
threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

stopping = False
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "stop":
        server.shutdown()  # accept nothing new, answer what was taken
        stopping = True
    else:
        waiting.pop(frame["id"]).put(frame)
    if stopping and not waiting:
        break
