/*
 * A receiver in C, by example: one that appends each message as a line of JSON to a file, on a thread of its own.
 *
 *     cc -std=c99 -shared -fPIC -pthread -I ../../../poa-plugin/include -o libndjson.so ndjson.c
 *
 * The host makes one call at a time. This receiver takes it, returns at once, and completes it from its thread when the lines
 * are on the disk. What blocks in the call itself needs POA_MAY_BLOCK in `flags`, and no thread.
 *
 * The host delivers a message again when it does not know whether it was stored. It is in the file only once, because the ids of the
 * last lines are remembered, and the file is searched for an id that can be older.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* flock */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <poa_plugin.h>

/* What comes again is what was delivered in about a second before a crash. */
enum { ID = 36, RECENT = 1 << 17 };

static const char BEGIN[] = "{\"message_id\":\"";

/* One instance: the `x` of [receivers.x]. */
typedef struct {
    char *name;
    int file;
    int known;              /* what follows is what the file holds */
    char recent[RECENT][ID];/* the ids of the last lines, */
    void *tree;             /* sorted, */
    size_t written;         /* how many ids there were in all, */
    char floor[ID];         /* and the greatest of the others; all zeros when there are none */
    pthread_t thread;
    int has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int has_call;           /* `batch` and `call` are to be done */
    int stop;
    const poa_batch *batch; /* lent until `call` is completed; NULL: there is nothing to write */
    poa_call call;
} ndjson;

/* The id as hosts show it: a UUID, which sorts as the ids do. */
static void show_id(const poa_message *message, char text[ID]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0, at = 0; i < sizeof message->id; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
        text[at++] = digits[message->id[i] >> 4];
        text[at++] = digits[message->id[i] & 15];
    }
}

/* ---- what the file holds ---- */

static int compare(const void *one, const void *other) {
    return memcmp(one, other, ID);
}

/* 0: there is no memory. */
static int remember(ndjson *self, const char *id) {
    char *place = self->recent[self->written % RECENT];
    if (self->written >= RECENT) {
        tdelete(place, &self->tree, compare);
        if (compare(place, self->floor) > 0) memcpy(self->floor, place, ID);
    }
    memcpy(place, id, ID);
    if (!tsearch(place, &self->tree, compare)) return 0;
    self->written++;
    return 1;
}

static void forget(ndjson *self) {
    while (self->tree) tdelete(*(char **)self->tree, &self->tree, compare);
    memset(self->floor, 0, ID);
    self->written = 0;
    self->known = 0;
}

/* Reads the file: remembers its ids when there is none to look for, and else tells whether that one is there. -1: cannot read. */
static int look_for(ndjson *self, const char *id) {
    FILE *reader = fopen(self->name, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    off_t whole = 0;
    int found = 0;
    if (!reader) return -1;
    while (!found && (length = getline(&line, &room, reader)) > 0 && line[length - 1] == '\n') {
        const char *own = line + sizeof BEGIN - 1;
        whole += length;
        if (length <= (ssize_t)(sizeof BEGIN + ID) || memcmp(line, BEGIN, sizeof BEGIN - 1) != 0) continue;
        if (id) found = memcmp(own, id, ID) == 0;
        else if (!remember(self, own)) found = -1;
    }
    /* A line that was cut by a crash goes; its message comes again. */
    if (ferror(reader) || (!id && found == 0 && ftruncate(self->file, whole) != 0)) found = -1;
    free(line);
    fclose(reader);
    return found;
}

static int learn(ndjson *self) {
    if (self->known) return 1;
    forget(self);
    self->known = look_for(self, NULL) == 0;
    return self->known;
}

/* Whether the message is in the file already. -1: cannot read. */
static int is_there(ndjson *self, const char id[ID]) {
    if (tfind(id, &self->tree, compare)) return 1;
    if (compare(id, self->floor) > 0) return 0;
    return look_for(self, id);
}

/* ---- writing ---- */

/* The characters that JSON does not take in a text; agent ids have no control characters. */
static void write_text(FILE *out, poa_bytes text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') fputc('\\', out);
        fputc(text.data[i], out);
    }
}

/* Your own: what a message becomes. */
static void write_line(FILE *out, const char id[ID], const poa_message *message) {
    fprintf(out, "%s%.*s\",\"agent_id\":\"", BEGIN, ID, id);
    write_text(out, message->agent_id);
    fputs("\",\"data_type\":\"", out);
    write_text(out, message->data_type);
    if (message->format == POA_JSON) {
        fputs("\",\"data\":", out);
        /* In JSON a line feed as such stands between values only, so a space will do. */
        for (size_t i = 0; i < message->payload.len; i++) {
            int byte = message->payload.data[i];
            fputc(byte == '\n' || byte == '\r' ? ' ' : byte, out);
        }
        fputs("}\n", out);
    } else {
        /* As it came, in hexadecimal digits. To write it as JSON takes a library for MessagePack. */
        fputs("\",\"msgpack\":\"", out);
        for (size_t i = 0; i < message->payload.len; i++) fprintf(out, "%02x", message->payload.data[i]);
        fputs("\"}\n", out);
    }
}

/* Appends all of the text, or none of it, and only what is on the disk counts. */
static int append(ndjson *self, const char *text, size_t length) {
    off_t before = lseek(self->file, 0, SEEK_END);
    size_t done = 0;
    if (before < 0) return 0;
    while (done < length) {
        ssize_t wrote = write(self->file, text + done, length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        done += (size_t)wrote;
    }
    if (done == length && fsync(self->file) == 0) return 1;
    /* If that fails, too, the file is read again before the next batch. */
    if (ftruncate(self->file, before) != 0) fsync(self->file);
    self->known = 0;
    return 0;
}

/* The lines of what is not there yet; 0 when the file cannot be read, or memory is short. */
static int lines_of(ndjson *self, const poa_batch *batch, char **text, size_t *length) {
    FILE *out = open_memstream(text, length);
    int good = out != NULL;
    for (size_t i = 0; good && i < batch->count; i++) {
        const poa_message *message = poa_message_at(batch, i);
        char id[ID];
        show_id(message, id);
        int there = is_there(self, id);
        if (there == 0) {
            write_line(out, id, message);
            there = remember(self, id) ? 0 : -1;
        }
        good = there >= 0;
    }
    if (out && (ferror(out) || fclose(out) != 0)) good = 0;
    return good;
}

static void write_batch(ndjson *self, const poa_batch *batch, poa_call call) {
    char *text = NULL;
    size_t length = 0;
    int good = learn(self) && lines_of(self, batch, &text, &length) && (length == 0 || append(self, text, length));
    free(text);
    /* What was remembered and is not there must be forgotten. */
    if (!good) self->known = 0;
    if (good)
        poa_complete(call, POA_OK, NULL, NULL);
    else
        poa_complete(call, POA_TRANSIENT, "cannot write the file; is the disk full?", NULL);
}

/* ---- calls ---- */

/* Waits for the instance before this one, should it still write, and then says that this one has started. */
static int begin(ndjson *self) {
    if (flock(self->file, LOCK_EX) == 0 && learn(self)) {
        poa_log(self->call.host, POA_INFO, "appending lines");
        poa_complete(self->call, POA_OK, NULL, NULL);
        return 1;
    }
    poa_complete(self->call, POA_TRANSIENT, "cannot read the file that is to be appended to", NULL);
    return 0;
}

static void close_all(ndjson *self) {
    forget(self);
    if (self->file >= 0) close(self->file);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self->name);
    free(self);
}

static void *work(void *argument) {
    ndjson *self = argument;
    if (!begin(self)) return NULL;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (!self->has_call && !self->stop) pthread_cond_wait(&self->changed, &self->lock);
        if (!self->has_call) break;
        const poa_batch *batch = self->batch;
        poa_call call = self->call;
        self->has_call = 0;
        pthread_mutex_unlock(&self->lock);
        if (batch)
            write_batch(self, batch, call);
        else
            poa_complete(call, POA_OK, NULL, NULL);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* Comes first, once: the place to start threads. */
static void start(void *instance, const poa_start *start, poa_call call) {
    ndjson *self = instance;
    (void)start;
    self->call = call;
    self->has_thread = pthread_create(&self->thread, NULL, work, self) == 0;
    if (!self->has_thread) poa_complete(call, POA_TRANSIENT, "cannot start a thread", NULL);
}

static void give(ndjson *self, const poa_batch *batch, poa_call call) {
    pthread_mutex_lock(&self->lock);
    self->batch = batch;
    self->call = call;
    self->has_call = 1;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void metrics_received(void *instance, const poa_batch *batch, poa_call call) {
    give(instance, batch, call);
}

static void terminate(void *instance, poa_call call) {
    give(instance, NULL, call);
}

/* Comes last, after every call was completed. */
static void drop(void *instance) {
    ndjson *self = instance;
    pthread_mutex_lock(&self->lock);
    self->stop = 1;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    if (self->has_thread) pthread_join(self->thread, NULL);
    close_all(self);
}

/* ---- configuration ---- */

/* Your own: the keys of the section. */
static void schema(poa_sink out) {
    poa_write(out,
        "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"path\"],"
        "\"description\":\"Writes JSON lines.\",\"properties\":{\"path\":{\"type\":\"string\","
        "\"description\":\"The file, relative to `data_dir`; made if missing.\"}}}");
}

/* The text of `path` without its quotes, cut out of {"path":"…"}. A larger configuration deserves a JSON library. */
static poa_bytes path_of(poa_bytes config) {
    static const char before[] = "{\"path\":\"", after[] = "\"}";
    size_t begin = sizeof before - 1, end = sizeof after - 1;
    poa_bytes path = { NULL, 0 };
    if (config.len <= begin + end || memcmp(config.data, before, begin) != 0) return path;
    path.data = config.data + begin;
    path.len = config.len - begin - end;
    if (memchr(path.data, '\\', path.len)) path.len = 0;
    return path;
}

static void validate(poa_bytes config, poa_sink out) {
    if (path_of(config).len == 0)
        poa_write(out, "[{\"path\":\"path\",\"message\":\"write a name without quotes and backslashes\"}]");
}

/* "data_dir/path", or a path that begins at the root; NULL when there is no memory. The caller frees it. */
static char *file_name(const poa_build *build) {
    poa_bytes path = path_of(build->config), dir = build->data_dir;
    char *name = malloc(dir.len + path.len + 2);
    if (!name) return NULL;
    if (path.len > 0 && path.data[0] == '/') dir.len = 0;
    memcpy(name, dir.data, dir.len);
    name[dir.len] = '/';
    memcpy(name + dir.len + 1, path.data, path.len);
    name[dir.len + 1 + path.len] = '\0';
    return name;
}

static void build(const poa_build *build, poa_call call) {
    ndjson *self = calloc(1, sizeof *self);
    if (!self) {
        poa_complete(call, POA_TRANSIENT, "no memory", NULL);
        return;
    }
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->name = file_name(build);
    self->file = self->name ? open(self->name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (self->file < 0) {
        close_all(self);
        poa_complete(call, POA_PERMANENT, "cannot append to the file; is its directory there?", NULL);
    } else {
        poa_complete(call, POA_OK, NULL, self);
    }
}

static const poa_kind KIND = {
    .size = sizeof(poa_kind),
    .role = POA_RECEIVER,
    .name = POA_TEXT("ndjson"),
    .schema = schema,
    .validate = validate,
    .build = build,
    .start = start,
    .drop = drop,
    .metrics_received = metrics_received,
    .terminate = terminate,
};

static const poa_kind *const KINDS[] = { &KIND };

const poa_descriptor poa_plugin_descriptor_v1 = {
    .size = sizeof(poa_descriptor),
    .abi_major = POA_ABI_MAJOR,
    .abi_minor = 2, /* the first with `start` */
    .name = POA_TEXT("ndjson"),
    .version = POA_TEXT("1.0.0"),
    .kinds = KINDS,
    .kinds_len = sizeof KINDS / sizeof *KINDS,
};
