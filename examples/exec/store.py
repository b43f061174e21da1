"""A receiver for poa: stores messages in an SQLite database, each once."""

import json
import sqlite3
import sys


def say(**frame):
    print(json.dumps(frame), flush=True)


hello = json.loads(sys.stdin.readline())
database = sqlite3.connect(hello["options"]["path"])
database.execute("CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, agent_id TEXT, data_type TEXT, data TEXT)")
say(type="ready", protocol=1)

for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "stop":
        break
    rows = [(m["id"], m["agent_id"], m["data_type"], json.dumps(m["data"])) for m in frame["messages"]]
    try:
        with database:  # one transaction, on the disk when it ends
            database.executemany("INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?)", rows)
        say(type="ack", id=frame["id"])
    except sqlite3.OperationalError as error:  # locked, or the disk is full: the same messages come again
        say(type="retry", id=frame["id"], reason=str(error))
