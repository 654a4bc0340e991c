/* Makes chosen file operations of a process fail, for crates/cli/tests/faults.rs. Loaded with LD_PRELOAD.
 *
 * SCEAU_FAULT = call|path ending|thread|nth|times|errno|mode
 *   call   fsync (fdatasync too), write (pwrite too), rename, ftruncate, open (only those that make a file)
 *   path   the operation counts if the file's path ends so
 *   thread and if the thread has this name; *: any
 *   nth    from 1: the first operation that fails, counted from when the file SCEAU_FAULT_ARM exists
 *   times  how many fail from there on; 0: all
 *   mode   failed: nothing is done; persisted: it is done, and yet it fails; short: half of it is written first
 * Each failure adds a line to the file SCEAU_FAULT_ARM + ".fired". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

static char call[16], ending[256], thread[32], mode[16], arm[4096], fired[4104];
static long nth, times;
static int error_number, ready;
static atomic_long seen;
static atomic_int armed;

__attribute__((constructor)) static void begin(void)
{
    const char *fault = getenv("SCEAU_FAULT"), *file = getenv("SCEAU_FAULT_ARM");
    if (!fault || !file)
        return;
    if (sscanf(fault, "%15[^|]|%255[^|]|%31[^|]|%ld|%ld|%d|%15s", call, ending, thread, &nth, &times, &error_number,
               mode) != 7) {
        fprintf(stderr, "SCEAU_FAULT can't be understood: %s\n", fault);
        abort();
    }
    snprintf(arm, sizeof arm, "%s", file);
    snprintf(fired, sizeof fired, "%s.fired", arm);
    ready = 1;
}

static int is(const char *what) { return ready && strcmp(call, what) == 0; }

static int ends(const char *path)
{
    size_t length = strlen(path), wanted = strlen(ending);
    return length >= wanted && strcmp(path + length - wanted, ending) == 0;
}

/* Whether this operation, which is of the right kind and file, is one that fails. */
static int due(const char *path)
{
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    if (strcmp(thread, "*") != 0 && strcmp(thread, name) != 0)
        return 0;
    if (!atomic_load(&armed)) {
        if (access(arm, F_OK) != 0)
            return 0;
        atomic_store(&armed, 1);
    }
    long count = atomic_fetch_add(&seen, 1) + 1;
    if (count < nth || (times > 0 && count >= nth + times))
        return 0;
    int (*opened)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int note = opened(fired, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (note >= 0) {
        ssize_t (*written)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        char line[4400];
        int length = snprintf(line, sizeof line, "%s %s\n", call, path);
        written(note, line, length < (int)sizeof line ? (size_t)length : sizeof line);
        close(note);
    }
    return 1;
}

static int due_fd(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return ends(path) && due(path);
}

static int persists(void) { return strcmp(mode, "persisted") == 0; }

#define SYNC(name)                                            \
    int name(int fd)                                          \
    {                                                         \
        static int (*real)(int);                              \
        if (!real)                                            \
            real = dlsym(RTLD_NEXT, #name);                   \
        if (is("fsync") && due_fd(fd)) {                      \
            if (persists())                                   \
                real(fd);                                     \
            errno = error_number;                             \
            return -1;                                        \
        }                                                     \
        return real(fd);                                      \
    }
SYNC(fsync)
SYNC(fdatasync)

#define WRITE(name, parameters, arguments, shorter)           \
    ssize_t name parameters                                   \
    {                                                         \
        static ssize_t (*real) parameters;                    \
        if (!real)                                            \
            real = dlsym(RTLD_NEXT, #name);                   \
        if (is("write") && due_fd(fd)) {                      \
            if (persists())                                   \
                real arguments;                               \
            else if (strcmp(mode, "short") == 0 && size > 1)  \
                real shorter;                                 \
            errno = error_number;                             \
            return -1;                                        \
        }                                                     \
        return real arguments;                                \
    }
WRITE(write, (int fd, const void *from, size_t size), (fd, from, size), (fd, from, size / 2))
WRITE(pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at), (fd, from, size / 2, at))
WRITE(pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at), (fd, from, size / 2, at))

#define TRUNCATE(name, kind)                                  \
    int name(int fd, kind size)                               \
    {                                                         \
        static int (*real)(int, kind);                        \
        if (!real)                                            \
            real = dlsym(RTLD_NEXT, #name);                   \
        if (is("ftruncate") && due_fd(fd)) {                  \
            if (persists())                                   \
                real(fd, size);                               \
            errno = error_number;                             \
            return -1;                                        \
        }                                                     \
        return real(fd, size);                                \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (!real)
        real = dlsym(RTLD_NEXT, "rename");
    if (is("rename") && ends(to) && due(to)) {
        if (persists())
            real(from, to);
        errno = error_number;
        return -1;
    }
    return real(from, to);
}

#define OPEN(name)                                                                                   \
    int name(const char *path, int flags, ...)                                                       \
    {                                                                                                \
        static int (*real)(const char *, int, ...);                                                  \
        if (!real)                                                                                   \
            real = dlsym(RTLD_NEXT, #name);                                                          \
        mode_t permissions = 0;                                                                      \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                       \
            va_list rest;                                                                            \
            va_start(rest, flags);                                                                   \
            permissions = va_arg(rest, mode_t);                                                      \
            va_end(rest);                                                                            \
        }                                                                                            \
        if ((flags & O_CREAT) && is("open") && ends(path) && due(path)) {                            \
            if (persists()) {                                                                        \
                int made = real(path, flags, permissions);                                           \
                if (made >= 0)                                                                       \
                    close(made);                                                                     \
            }                                                                                        \
            errno = error_number;                                                                    \
            return -1;                                                                               \
        }                                                                                            \
        return real(path, flags, permissions);                                                       \
    }
OPEN(open)
OPEN(open64)
