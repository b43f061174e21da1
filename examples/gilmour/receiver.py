#!/usr/bin/env python3
"""A receiver of poa in Python: stores each message as a line of JSON, and confirms it with 200.

    python3 receiver.py http://127.0.0.1:8080 messages.jsonl

poa-server needs a receiver that asks for this topic:

    [receivers.lines]
    kind      = "gilmour"
    topic     = "store.{data_type}"
    subscribe = ["system_metrics"]
"""
import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

GATEWAY, FILE = sys.argv[1], sys.argv[2]
LOCK = Lock()


class Receiver(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
        # A message that can never be stored: 400 makes it a dead letter. Anything from 500 would have it sent again.
        if "cpu_load" not in message["data"]:
            return self.answer(400, b'"no cpu_load"')
        with LOCK, open(FILE, "a") as file:
            file.write(json.dumps(message) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.answer(200)

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
Thread(target=server.serve_forever, daemon=True).start()
body = {"name": "lines", "port": server.server_port, "services": [{"topic": "store.system_metrics", "path": "/"}]}
request = urllib.request.Request(GATEWAY + "/nodes", data=json.dumps(body).encode())
node = json.load(urllib.request.urlopen(request))
print("ready", node["id"], flush=True)
sys.stdin.read()
urllib.request.urlopen(urllib.request.Request(f"{GATEWAY}/nodes/{node['id']}", method="DELETE"))
