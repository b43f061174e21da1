# The contract of all receivers: redelivery, lost confirmations, failures, unreadable data, stops.
# Your own: how the ids of what is stored are read back, oldest first.
exec "${POA_SERVER:-poa-server}" plugin test store --stored 'cut -d "\"" -f 4 "$POA_DATA_DIR/messages.jsonl"'
