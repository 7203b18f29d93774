/* A disk that fails on demand: loaded into the program under test before the C library.
 *
 * Calls on files below $FAULT_FOLDER fail while the file $FAULT_TRIGGER is there. It holds three
 * words: the error number, "write" or "read" or "both", and after how many good calls each
 * failing one comes (0: all fail). A failing write writes nothing, a failing sync syncs nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int fails(int fd, const char *kind) {
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
    int number = 0, good = 0;
    char which[16] = "";
    int words = fscanf(file, "%d %15s %d", &number, which, &good);
    fclose(file);
    if (words != 3) return 0;
    if (strcmp(which, "both") != 0 && strcmp(which, kind) != 0) return 0;
    if (atomic_fetch_add(&calls, 1) % (good + 1) != good) return 0;
    errno = number;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    return fails(fd, "write") ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return fails(fd, "write") ? -1 : REAL(pwrite)(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return fails(fd, "write") ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}

int fsync(int fd) { return fails(fd, "write") ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return fails(fd, "write") ? -1 : REAL(fdatasync)(fd); }

int ftruncate(int fd, off_t length) {
    return fails(fd, "write") ? -1 : REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    return fails(fd, "write") ? -1 : REAL(ftruncate64)(fd, length);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    return fails(fd, "read") ? -1 : REAL(pread)(fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    return fails(fd, "read") ? -1 : REAL(pread64)(fd, bytes, count, at);
}
