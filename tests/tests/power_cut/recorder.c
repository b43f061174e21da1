/*
 * Records what a program does to the files below one directory, for the test beside this file. Preloaded, so it sees the calls of
 * every library in the program; each call is carried out while a lock is held, so the record is in the order in which they happened.
 *
 * POA_RECORD names the record, POA_RECORD_ROOT the directory. A record is a header, a name, and data; see `record.rs`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPENED = 1, CREATED, WRITTEN, CUT, SYNCED, UNLINKED, RENAMED, LINKED, DIRECTORY, SYNCED_DIRECTORY };

struct header {
    uint64_t kind, file, at, name_len, data_len;
};

#define FILES 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record = -1;
static char root[PATH_MAX];
static size_t root_len;
/* Whether a descriptor is that of a file or a directory below the root. */
static unsigned char watched[FILES];

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("POA_RECORD"), *directory = getenv("POA_RECORD_ROOT");
    if (file == NULL || directory == NULL || strlen(directory) >= sizeof root) return;
    strcpy(root, directory);
    root_len = strlen(root);
    record = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (record < 0) abort();
}

static void note(uint64_t kind, uint64_t file, uint64_t at, const char *name, size_t name_len, const void *data, size_t data_len) {
    struct header header = { kind, file, at, name_len, data_len };
    struct iovec parts[3] = { { &header, sizeof header }, { (void *)name, name_len }, { (void *)data, data_len } };
    size_t whole = sizeof header + name_len + data_len;
    /* In one call, so that a kill leaves whole records. */
    if (syscall(SYS_writev, record, parts, 3) != (ssize_t)whole) abort();
}

/* The path below the root, or none. `full` has room for PATH_MAX. */
static const char *below(int dir, const char *path, char *full) {
    if (record < 0 || path == NULL) return NULL;
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return NULL;
        strcpy(full, path);
    } else {
        char link[64];
        if (dir == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, full, PATH_MAX - 1);
        if (len < 0 || (size_t)len + strlen(path) + 2 > PATH_MAX) return NULL;
        full[len] = '/';
        strcpy(full + len + 1, path);
    }
    if (strncmp(full, root, root_len) != 0) return NULL;
    if (full[root_len] == 0) return full + root_len;
    return full[root_len] == '/' ? full + root_len + 1 : NULL;
}

static int is_watched(int fd) {
    return record >= 0 && fd >= 0 && fd < FILES && watched[fd];
}

static uint64_t number(int fd) {
    struct stat found;
    if (fstat(fd, &found) != 0) abort();
    return found.st_ino;
}

static int open_file(int dir, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    const char *name = below(dir, path, full);
    if (name == NULL) return (int)syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    int there = syscall(SYS_faccessat, dir, path, F_OK) == 0;
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    int error = errno;
    struct stat found;
    if (fd >= FILES) abort();
    if (fd >= 0 && fstat(fd, &found) == 0) {
        watched[fd] = 1;
        if (S_ISREG(found.st_mode)) {
            note(there ? OPENED : CREATED, found.st_ino, 0, name, strlen(name), NULL, 0);
            if (there && (flags & O_TRUNC)) note(CUT, found.st_ino, 0, NULL, 0, NULL, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, last); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) { MODE(flags, flags) return open_file(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return open_file(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags, flags) return open_file(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags, flags) return open_file(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_file(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    if (is_watched(fd)) watched[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t at) {
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_pwrite64, fd, bytes, len, at);
    int error = errno;
    if (written > 0) note(WRITTEN, number(fd), (uint64_t)at, NULL, 0, bytes, (size_t)written);
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return is_watched(fd) ? write_at(fd, bytes, len, at) : syscall(SYS_pwrite64, fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) { return pwrite(fd, bytes, len, at); }

ssize_t write(int fd, const void *bytes, size_t len) {
    if (!is_watched(fd)) return syscall(SYS_write, fd, bytes, len);
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_write, fd, bytes, len);
    int error = errno;
    if (written > 0) {
        /* Where it went, appended or not, is where the descriptor is now, less what was written. */
        off_t end = syscall(SYS_lseek, fd, 0, SEEK_CUR);
        note(WRITTEN, number(fd), (uint64_t)(end - written), NULL, 0, bytes, (size_t)written);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

/* Nothing here writes in several parts, or lets the kernel copy: who tries is told to do without. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (is_watched(fd)) abort();
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (is_watched(fd)) abort();
    return syscall(SYS_pwritev, fd, parts, count, at, 0);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t len, unsigned flags) {
    if (is_watched(out)) { errno = ENOSYS; return -1; }
    return syscall(SYS_copy_file_range, in, from, out, to, len, flags);
}

ssize_t sendfile(int out, int in, off_t *from, size_t count) {
    if (is_watched(out)) { errno = ENOSYS; return -1; }
    return syscall(SYS_sendfile, out, in, from, count);
}

ssize_t sendfile64(int out, int in, off64_t *from, size_t count) { return sendfile(out, in, from, count); }

int posix_fallocate(int fd, off_t at, off_t len) { return is_watched(fd) ? EOPNOTSUPP : (int)syscall(SYS_fallocate, fd, 0, at, len); }
int posix_fallocate64(int fd, off64_t at, off64_t len) { return posix_fallocate(fd, at, len); }

int ftruncate(int fd, off_t len) {
    if (!is_watched(fd)) return (int)syscall(SYS_ftruncate, fd, len);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, len);
    int error = errno;
    if (result == 0) note(CUT, number(fd), (uint64_t)len, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int ftruncate64(int fd, off64_t len) { return ftruncate(fd, len); }

/* The names in a directory, with the numbers of their files: `number name\0` each. So a name that was changed by a call which is not
 * watched is known at the latest when it is durable. */
static void note_directory(const char *path, const char *name) {
    static char list[1 << 20];
    size_t len = 0;
    DIR *directory = opendir(path);
    if (directory == NULL) abort();
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        int room = (int)(sizeof list - len);
        int more = snprintf(list + len, (size_t)room, "%ju %s", (uintmax_t)entry->d_ino, entry->d_name);
        if (more >= room) abort();
        len += (size_t)more + 1;
    }
    closedir(directory);
    note(SYNCED_DIRECTORY, 0, 0, name, strlen(name), list, len);
}

static int sync_file(long call, int fd) {
    if (!is_watched(fd)) return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(call, fd);
    int error = errno;
    struct stat found;
    if (result == 0 && fstat(fd, &found) == 0) {
        if (S_ISDIR(found.st_mode)) {
            char link[64], path[PATH_MAX], full[PATH_MAX];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
            if (len < 0) abort();
            path[len] = 0;
            const char *name = below(AT_FDCWD, path, full);
            if (name != NULL) note_directory(path, name);
        } else {
            note(SYNCED, found.st_ino, 0, NULL, 0, NULL, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int fd) { return sync_file(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_file(SYS_fdatasync, fd); }

/* A call that changes the name `path` for good, and the name `to` if there is one. */
static int change(uint64_t kind, int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char from_full[PATH_MAX], to_full[PATH_MAX], both[2 * PATH_MAX];
    const char *one = below(from_dir, from, from_full);
    const char *other = to == NULL ? "" : below(to_dir, to, to_full);
    if (one != NULL) pthread_mutex_lock(&lock);
    int result = -1;
    switch (kind) {
    case UNLINKED: result = (int)syscall(SYS_unlinkat, from_dir, from, flags); break;
    case DIRECTORY: result = (int)syscall(SYS_mkdirat, from_dir, from, (mode_t)flags); break;
    case RENAMED: result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags); break;
    case LINKED: result = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags); break;
    }
    if (one == NULL) return result;
    int error = errno;
    if (result == 0) {
        if (other == NULL || (kind == RENAMED && flags != 0)) abort();
        int len = snprintf(both, sizeof both, "%s%c%s", one, 0, other);
        note(kind, 0, 0, both, to == NULL ? strlen(one) : (size_t)len, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int unlink(const char *path) { return change(UNLINKED, AT_FDCWD, path, 0, NULL, 0); }
int unlinkat(int dir, const char *path, int flags) { return change(UNLINKED, dir, path, 0, NULL, (unsigned)flags); }
int rmdir(const char *path) { return change(UNLINKED, AT_FDCWD, path, 0, NULL, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return change(DIRECTORY, AT_FDCWD, path, 0, NULL, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return change(DIRECTORY, dir, path, 0, NULL, mode); }
int rename(const char *from, const char *to) { return change(RENAMED, AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int dir, const char *from, int other, const char *to) { return change(RENAMED, dir, from, other, to, 0); }
int renameat2(int dir, const char *from, int other, const char *to, unsigned flags) { return change(RENAMED, dir, from, other, to, flags); }
int link(const char *from, const char *to) { return change(LINKED, AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int dir, const char *from, int other, const char *to, int flags) { return change(LINKED, dir, from, other, to, (unsigned)flags); }
