/*
 * A receiver in C, by example: one that appends each message as a line of JSON to a file, on a thread of its own.
 *
 *     cc -std=c99 -shared -fPIC -pthread -I ../../../poa-plugin/include -o libndjson.so ndjson.c
 *
 * The host makes one call at a time. This receiver takes it, returns at once, and completes it from its thread when the lines
 * are on the disk. What blocks in the call itself needs POA_MAY_BLOCK in `flags`, and no thread.
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <poa_plugin.h>

/* One instance: the `x` of [receivers.x]. */
typedef struct {
    FILE *file;
    const poa_host *host;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int has_call;           /* `batch` and `call` are to be done */
    int stop;
    const poa_batch *batch; /* lent until `call` is completed; NULL: there is nothing to write */
    poa_call call;
} ndjson;

/* The characters that JSON does not take in a text; agent ids have no control characters. */
static void write_text(FILE *file, poa_bytes text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') fputc('\\', file);
        fputc(text.data[i], file);
    }
}

static void write_line(FILE *file, const poa_message *message) {
    fputs("{\"message_id\":\"", file);
    for (size_t i = 0; i < sizeof message->id; i++) fprintf(file, "%02x", message->id[i]);
    fputs("\",\"agent_id\":\"", file);
    write_text(file, message->agent_id);
    fputs("\",\"data_type\":\"", file);
    write_text(file, message->data_type);
    fputs("\",\"data\":", file);
    /* In JSON a line feed as such stands between values only, so a space will do. */
    for (size_t i = 0; i < message->payload.len; i++) {
        int byte = message->payload.data[i];
        fputc(byte == '\n' || byte == '\r' ? ' ' : byte, file);
    }
    fputs("}\n", file);
}

/* The first message that is no JSON; `count` when all are. */
static size_t first_unfit(const poa_batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        if (poa_message_at(batch, i)->format != POA_JSON) return i;
    return batch->count;
}

/* This one message can never be written; the others come again. */
static void refuse(poa_call call, size_t index) {
    uint32_t item = (uint32_t)index;
    poa_result result;
    memset(&result, 0, sizeof result);
    result.size = sizeof result;
    result.code = POA_PERMANENT;
    result.text = poa_text("this receiver writes JSON only");
    result.items = &item;
    result.items_len = 1;
    call.host->complete(call.host, call.id, &result);
}

static void write_batch(ndjson *self, const poa_batch *batch, poa_call call) {
    size_t unfit = first_unfit(batch);
    if (unfit < batch->count) {
        refuse(call, unfit);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) write_line(self->file, poa_message_at(batch, i));
    int failed = fflush(self->file) != 0 || fsync(fileno(self->file)) != 0;
    clearerr(self->file);
    if (failed)
        poa_complete(call, POA_TRANSIENT, "cannot write the file; is the disk full?", NULL);
    else
        poa_complete(call, POA_OK, NULL, NULL);
}

static void *work(void *argument) {
    ndjson *self = argument;
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
    pthread_join(self->thread, NULL);
    fclose(self->file);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

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

/* "data_dir/path"; NULL when there is no memory. The caller frees it. */
static char *file_name(const poa_build *build) {
    poa_bytes path = path_of(build->config);
    char *name = malloc(build->data_dir.len + path.len + 2);
    if (!name) return NULL;
    memcpy(name, build->data_dir.data, build->data_dir.len);
    name[build->data_dir.len] = '/';
    memcpy(name + build->data_dir.len + 1, path.data, path.len);
    name[build->data_dir.len + 1 + path.len] = '\0';
    return name;
}

/* A line that was cut by a crash is ended, so that the next one stands alone; its message comes again. */
static int end_line(FILE *file) {
    if (fseek(file, -1, SEEK_END) != 0) return 1;
    int last = fgetc(file);
    if (fseek(file, 0, SEEK_END) != 0) return 0;
    return last == '\n' || fputc('\n', file) != EOF;
}

static void build(const poa_build *build, poa_call call) {
    ndjson *self = calloc(1, sizeof *self);
    char *name = file_name(build);
    if (self && name) self->file = fopen(name, "a+");
    free(name);
    if (!self || !self->file || !end_line(self->file)) {
        if (self && self->file) fclose(self->file);
        free(self);
        poa_complete(call, POA_PERMANENT, "cannot append to the file; is its directory there?", NULL);
        return;
    }
    self->host = call.host;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    if (pthread_create(&self->thread, NULL, work, self) != 0) {
        fclose(self->file);
        free(self);
        poa_complete(call, POA_TRANSIENT, "cannot start a thread", NULL);
        return;
    }
    poa_log(self->host, POA_INFO, "appending lines");
    poa_complete(call, POA_OK, NULL, self);
}

static const poa_kind KIND = {
    .size = sizeof(poa_kind),
    .role = POA_RECEIVER,
    .name = POA_TEXT("ndjson"),
    .schema = schema,
    .validate = validate,
    .build = build,
    .drop = drop,
    .metrics_received = metrics_received,
    .terminate = terminate,
};

static const poa_kind *const KINDS[] = { &KIND };

const poa_descriptor poa_plugin_descriptor_v1 = {
    .size = sizeof(poa_descriptor),
    .abi_major = POA_ABI_MAJOR,
    .abi_minor = 0,
    .name = POA_TEXT("ndjson"),
    .version = POA_TEXT("1.0.0"),
    .kinds = KINDS,
    .kinds_len = sizeof KINDS / sizeof *KINDS,
};
