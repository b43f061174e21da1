"""A receiver for poa: stores messages in an SQLite database, each once."""

import json
import os
import sqlite3
import sys


def say(**frame):
    print(json.dumps(frame), flush=True)


hello = json.loads(sys.stdin.readline())
database = sqlite3.connect(os.path.join(hello["data_dir"], hello["options"]["path"]))
database.execute("CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, agent_id TEXT, data_type TEXT, data TEXT)")
say(type="ready", protocol=1)  # Your own: connect, make tables; say why when that fails

for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "stop":
        break
    rows = [(m["id"], m["agent_id"], m["data_type"], json.dumps(m["data"])) for m in frame["messages"]]
    try:  # Your own: store the batch in one transaction, each message by its id
        with database:  # one transaction, on the disk when it ends
            database.executemany("INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?)", rows)
        say(type="ack", id=frame["id"])
    except sqlite3.OperationalError as error:  # locked, or the disk is full: the same messages come again
        say(type="retry", id=frame["id"], reason=str(error))
