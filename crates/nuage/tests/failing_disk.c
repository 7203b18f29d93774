/* A disk that fails on demand: loaded into the program under test before the C library.
 *
 * Calls on files below $FAULT_FOLDER fail while the file $FAULT_TRIGGER is there. It holds three
 * words: the error number, "write" or "read" or "both", and after how many good calls each
 * failing one comes (0: all fail). A failing write writes nothing, a failing sync syncs nothing.
 * With "room" instead, the third word is how many bytes the files of the folder may have together:
 * what would make them more fails, all else succeeds. With "open", nothing can be opened to be
 * written or made, as on a disk that only lets read.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

/* Bytes of the files in a folder. */
static long long used(const char *folder) {
    DIR *names = opendir(folder);
    if (names == NULL) return 0;
    long long sum = 0;
    for (struct dirent *name; (name = readdir(names)) != NULL;) {
        char path[4096];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", folder, name->d_name);
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) sum += status.st_size;
    }
    closedir(names);
    return sum;
}

/* A write that ends at `end` in its file, as far as that is known (else -1). */
static int fails(int fd, const char *kind, long long end) {
    const char *trigger = getenv("FAULT_TRIGGER");
    const char *folder = getenv("FAULT_FOLDER");
    if (trigger == NULL || folder == NULL || access(trigger, F_OK) != 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return 0;
    FILE *file = fopen(trigger, "r");
    if (file == NULL) return 0;
    int number = 0;
    long long good = 0;
    char which[16] = "";
    int words = fscanf(file, "%d %15s %lld", &number, which, &good);
    fclose(file);
    if (words != 3) return 0;
    if (strcmp(which, "room") == 0) {
        struct stat status;
        if (strcmp(kind, "write") != 0 || end < 0 || fstat(fd, &status) != 0) return 0;
        if (end <= status.st_size || used(folder) + end - status.st_size <= good) return 0;
        errno = number;
        return 1;
    }
    if (strcmp(which, "both") != 0 && strcmp(which, kind) != 0) return 0;
    if (atomic_fetch_add(&calls, 1) % (good + 1) != good) return 0;
    errno = number;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    long long end = (long long)lseek(fd, 0, SEEK_CUR) + (long long)count;
    return fails(fd, "write", end) ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return fails(fd, "write", at + (long long)count) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return fails(fd, "write", at + (long long)count) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    long long end = at;
    for (int part = 0; part < count; part++) end += (long long)parts[part].iov_len;
    return fails(fd, "write", end) ? -1 : REAL(pwritev)(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t length) {
    return fails(fd, "write", at + length) ? errno : REAL(posix_fallocate)(fd, at, length);
}

int fsync(int fd) { return fails(fd, "write", -1) ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return fails(fd, "write", -1) ? -1 : REAL(fdatasync)(fd); }

int ftruncate(int fd, off_t length) {
    return fails(fd, "write", length) ? -1 : REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    return fails(fd, "write", length) ? -1 : REAL(ftruncate64)(fd, length);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    return fails(fd, "read", -1) ? -1 : REAL(pread)(fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    return fails(fd, "read", -1) ? -1 : REAL(pread64)(fd, bytes, count, at);
}

static int is_read_only(const char *path, int flags) {
    const char *trigger = getenv("FAULT_TRIGGER");
    const char *folder = getenv("FAULT_FOLDER");
    if (trigger == NULL || folder == NULL) return 0;
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT)) return 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return 0;
    FILE *file = fopen(trigger, "r");
    if (file == NULL) return 0;
    char which[16] = "";
    int number = 0, words = fscanf(file, "%d %15s", &number, which);
    fclose(file);
    if (words != 2 || strcmp(which, "open") != 0) return 0;
    errno = number;
    return 1;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                           \
        return is_read_only(path, flags) ? -1 : REAL(name)(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
