# The contract of all receivers: redelivery, lost confirmations, failures, kills, unreadable data, stops.
# Your own: how the ids of what is stored are read back, oldest first.
exec "${POA_SERVER:-poa-server}" plugin test store --stored '
python3 - <<"END"
import os, sqlite3
database = sqlite3.connect(os.environ["POA_DATA_DIR"] + "/messages.db")
for row in database.execute("SELECT id FROM messages ORDER BY rowid"):
    print(*row)
END'
