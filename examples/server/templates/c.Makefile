libndjson.so: ndjson.c poa_plugin.h
	cc -std=c99 -Wall -Wextra -O2 -shared -fPIC -pthread -I . -o $@ ndjson.c
