#!/usr/bin/env python3
"""A node of the Gilmour gateway in Python, with nothing but its standard library.

    python3 node.py http://127.0.0.1:8080

It answers requests of `words` (a text becomes a list of its words), prints signals of `log.*`, and says `ready` once everything is subscribed.
"""
import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GATEWAY = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"


def words(call):
    if not isinstance(call["data"], str):
        return 400, "the data must be a text"
    return 200, call["data"].split()


def log(call):
    print(call["topic"], json.dumps(call["data"]), flush=True)
    return 200, None


PATHS = {"/words": words, "/log": log}


class Node(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404, None)

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        handler = PATHS.get(self.path)
        self.answer(*(handler(call) if handler else (404, "no such handler")))

    def answer(self, status, data):
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ask(method, path, body=None):
    request = urllib.request.Request(GATEWAY + path, method=method, data=json.dumps(body).encode())
    if "GILMOUR_TOKEN" in os.environ:
        request.add_header("Authorization", "Bearer " + os.environ["GILMOUR_TOKEN"])
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    # The gateway asks for /health before it answers, so the server has to run already.
    from threading import Thread
    Thread(target=server.serve_forever, daemon=True).start()
    node = ask("POST", "/nodes", {
        "name": "python",
        "port": server.server_port,
        "services": [{"topic": "words", "path": "/words", "timeout": 5}],
        "slots": [{"topic": "log.*", "path": "/log", "timeout": 5}],
    })
    print("ready", node["id"], flush=True)
    try:
        sys.stdin.read()
    finally:
        ask("DELETE", "/nodes/" + node["id"])


if __name__ == "__main__":
    main()
