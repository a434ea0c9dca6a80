// Stands between a program and its C library (LD_PRELOAD), notes the file calls below one directory, and makes chosen ones fail.
//
//   FAULT_ROOT   the directory, absolute; calls on other files are left alone
//   FAULT_NOTES  a file to which each call is noted: "call path", with "! " before it if it was made to fail
//   FAULTS       lines "call pattern first last action": the calls number first to last (from 1; last 0: all later ones, too) of
//                those on paths that match the pattern (below the root; fnmatch) fare as the action says:
//                  error N   fails with errno N, nothing is done
//                  after N   is done, and fails with errno N all the same
//                  half      a write that really writes only half of its bytes, and says so
//                  slow N    is done N milliseconds later
//                  kill      is done, and ends the process, like kill -9
//   FAULT_JOURNAL  if set, a file to which everything that changes the directory is written, for `disk.rs` to read: a line each, a
//                write's bytes behind its line. A sync has a line when it begins and one when it has succeeded; an answer 204 has one before
//                it is sent. The number of a file is its inode's, new with each `create`.
//
// Calls that bypass the C library (the program's fallocate) pass it unseen.

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { PASS, ERROR, AFTER, HALF, SLOW, KILL };

struct fault {
    char call[16], pattern[256];
    long first, last, seen;
    enum kind kind;
    int number;
};

struct verdict {
    enum kind kind;
    int number;
};

static struct fault faults[256];
static int fault_count, notes = -1, journal = -1;
static long syncs;
static char root[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static enum kind kind_of(const char *name) {
    if (!strcmp(name, "error")) return ERROR;
    if (!strcmp(name, "after")) return AFTER;
    if (!strcmp(name, "half")) return HALF;
    if (!strcmp(name, "slow")) return SLOW;
    if (!strcmp(name, "kill")) return KILL;
    abort();
}

static void start(void) {
    const char *directory = getenv("FAULT_ROOT"), *file = getenv("FAULT_NOTES"), *text = getenv("FAULTS");
    if (!directory || !file || !text) abort();
    snprintf(root, sizeof root, "%s/", directory);
    notes = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const char *journal_file = getenv("FAULT_JOURNAL");
    if (journal_file)
        journal = syscall(SYS_openat, AT_FDCWD, journal_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    char *copy = strdup(text), *rest = copy, *line;
    while ((line = strsep(&rest, "\n"))) {
        if (!*line) continue;
        struct fault *fault = &faults[fault_count];
        char action[16];
        if (fault_count++ == 256) abort();
        int read = sscanf(line, "%15s %255s %ld %ld %15s %d", fault->call, fault->pattern, &fault->first, &fault->last,
                          action, &fault->number);
        if (read < 5) abort();
        fault->kind = kind_of(action);
    }
    free(copy);
}

// The path below the root, "." for the root itself; none for any other.
static const char *below_root(const char *path) {
    size_t length = strlen(root);
    if (!path) return NULL;
    if (!strncmp(path, root, length)) return path + length;
    return strlen(path) == length - 1 && !strncmp(path, root, length - 1) ? "." : NULL;
}

// What becomes of this call. A verdict that only delays has been carried out.
static struct verdict judge(const char *call, const char *path) {
    struct verdict verdict = {PASS, 0};
    pthread_once(&once, start);
    const char *below = below_root(path);
    if (!below) return verdict;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < fault_count; i++) {
        struct fault *fault = &faults[i];
        if (strcmp(call, fault->call) || fnmatch(fault->pattern, below, FNM_PATHNAME | FNM_PERIOD)) continue;
        fault->seen++;
        if (fault->seen >= fault->first && (!fault->last || fault->seen <= fault->last) && verdict.kind == PASS)
            verdict = (struct verdict){fault->kind, fault->number};
    }
    char note[PATH_MAX + 64];
    int written = snprintf(note, sizeof note, "%s%s %s\n", verdict.kind == PASS ? "" : "! ", call, below);
    syscall(SYS_write, notes, note, (size_t)written);
    pthread_mutex_unlock(&lock);
    if (verdict.kind == SLOW) {
        struct timespec time = {verdict.number / 1000, verdict.number % 1000 * 1000000L};
        nanosleep(&time, NULL);
        verdict.kind = PASS;
    }
    return verdict;
}

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    errno = saved;
    if (length < 0) return NULL;
    path[length] = 0;
    return path;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

// Writes one line to the journal, and the bytes of a write behind it.
static void record(const void *bytes, size_t count, const char *format, ...) {
    pthread_once(&once, start);
    if (journal < 0) return;
    char line[2 * PATH_MAX];
    va_list rest;
    va_start(rest, format);
    int length = vsnprintf(line, sizeof line, format, rest);
    va_end(rest);
    struct iovec parts[] = {{line, (size_t)length}, {(void *)bytes, count}};
    int saved = errno;
    syscall(SYS_writev, journal, parts, count ? 2 : 1);
    errno = saved;
}

static unsigned long inode_of(int fd) {
    struct stat status;
    int saved = errno;
    unsigned long inode = fstat(fd, &status) ? 0 : status.st_ino;
    errno = saved;
    return inode;
}

#define JUDGED(verdict, failed, work, done)                  \
    do {                                                     \
        if ((verdict).kind == ERROR) {                       \
            errno = (verdict).number;                        \
            return failed;                                   \
        }                                                    \
        __typeof__(work) result = work;                      \
        if (result != failed) { done; }                      \
        if ((verdict).kind == KILL) raise(SIGKILL);          \
        if ((verdict).kind == AFTER) {                       \
            errno = (verdict).number;                        \
            return failed;                                   \
        }                                                    \
        return result;                                       \
    } while (0)

#define ON_FD(type, name, call, parameters, arguments, before, done) \
    type name parameters {                                   \
        char path[PATH_MAX];                                 \
        struct verdict verdict = judge(call, path_of(fd, path)); \
        before;                                              \
        JUDGED(verdict, -1, REAL(name) arguments, done);     \
    }

#define ON_PATH(name, call, parameters, arguments, done)     \
    int name parameters {                                    \
        struct verdict verdict = judge(call, path);          \
        JUDGED(verdict, -1, REAL(name) arguments, if (below_root(path)) { done; }); \
    }

static long begin_sync(int fd, const char *path) {
    const char *below = below_root(path);
    if (!below) return 0;
    struct stat status;
    long number = __atomic_add_fetch(&syncs, 1, __ATOMIC_SEQ_CST);
    if (!fstat(fd, &status) && S_ISDIR(status.st_mode))
        record(NULL, 0, "begin %d.%ld directory %s\n", getpid(), number, below);
    else
        record(NULL, 0, "begin %d.%ld file %lu\n", getpid(), number, inode_of(fd));
    return number;
}

#define SYNC(name)                                           \
    ON_FD(int, name, "sync", (int fd), (fd), long number = begin_sync(fd, path), \
          if (number) record(NULL, 0, "end %d.%ld\n", getpid(), number))

SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, type)                                 \
    ON_FD(int, name, "truncate", (int fd, type length), (fd, length), (void)0, \
          if (below_root(path)) record(NULL, 0, "truncate %lu %ld\n", inode_of(fd), (long)length))

TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

ON_FD(ssize_t, read, "read", (int fd, void *bytes, size_t count), (fd, bytes, count), (void)0, (void)0)
ON_FD(ssize_t, pread64, "read", (int fd, void *bytes, size_t count, off64_t at), (fd, bytes, count, at), (void)0, (void)0)

ON_PATH(unlink, "unlink", (const char *path), (path), record(NULL, 0, "unlink %s\n", below_root(path)))
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode), record(NULL, 0, "mkdir %s\n", below_root(path)))

// The new name is what counts.
static void record_name(const char *what, const char *from, const char *path) {
    struct stat status;
    if (!stat(path, &status)) record(NULL, 0, "%s %lu %s %s\n", what, status.st_ino, below_root(from), below_root(path));
}

ON_PATH(rename, "rename", (const char *from, const char *path), (from, path), record_name("rename", from, path))
ON_PATH(link, "link", (const char *from, const char *path), (from, path), record_name("link", from, path))
ON_PATH(linkat, "link", (int a, const char *from, int b, const char *path, int flags), (a, from, b, path, flags),
        record_name("link", from, path))

DIR *opendir(const char *path) {
    struct verdict verdict = judge("list", path);
    JUDGED(verdict, NULL, REAL(opendir)(path), (void)0);
}

static void record_open(int fd, const char *path, int flags, int new) {
    if (new) record(NULL, 0, "create %lu %s\n", inode_of(fd), below_root(path));
    else if (flags & O_TRUNC) record(NULL, 0, "truncate %lu 0\n", inode_of(fd));
}

#define OPEN(name)                                           \
    int name(const char *path, int flags, ...) {             \
        va_list rest;                                        \
        va_start(rest, flags);                               \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                        \
        struct verdict verdict = judge(flags & O_CREAT ? "create" : "open", path); \
        int saved = errno, new = flags & O_CREAT && access(path, F_OK); \
        errno = saved;                                       \
        JUDGED(verdict, -1, REAL(name)(path, flags, mode), if (below_root(path)) record_open(result, path, flags, new)); \
    }

OPEN(open)
OPEN(open64)

static void record_write(int fd, const char *path, const void *bytes, long at, ssize_t count) {
    if (journal >= 0 && below_root(path))
        record(bytes, (size_t)count, "write %lu %ld %zd\n", inode_of(fd), at < 0 ? lseek(fd, 0, SEEK_CUR) - count : at, count);
}

static void record_answer(const void *bytes, size_t count) {
    static const char acknowledged[] = "HTTP/1.1 204";
    if (count >= sizeof acknowledged - 1 && !memcmp(bytes, acknowledged, sizeof acknowledged - 1)) record(NULL, 0, "acknowledge\n");
}

static size_t share(struct verdict verdict, size_t count) {
    return verdict.kind == HALF && count > 1 ? count / 2 : count;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    char path[PATH_MAX];
    struct verdict verdict = judge("write", path_of(fd, path));
    record_answer(bytes, count);
    JUDGED(verdict, -1, REAL(write)(fd, bytes, share(verdict, count)), record_write(fd, path, bytes, -1, result));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    char path[PATH_MAX];
    struct verdict verdict = judge("write", path_of(fd, path));
    JUDGED(verdict, -1, REAL(pwrite64)(fd, bytes, share(verdict, count), at), record_write(fd, path, bytes, at, result));
}

// The first part alone, which every caller must be ready for: so that there is one way to write.
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (count > 0 && below_root(path_of(fd, path))) return write(fd, parts->iov_base, parts->iov_len);
    if (count > 0) record_answer(parts->iov_base, parts->iov_len);
    return REAL(writev)(fd, parts, count);
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    record_answer(bytes, count);
    return REAL(send)(fd, bytes, count, flags);
}
