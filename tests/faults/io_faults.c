// Stands between a program and the C library (LD_PRELOAD) for the files *.db and *.db-wal alone:
//   IO_CONTROL  a file of 4096 bytes, mapped: two 32-bit words; every nth sync, and every nth write, fails with EIO
//               while the word is n, and none while it is 0
//   IO_RECORD   a file to which every write, truncation and sync is appended in its order, for a replay of what a loss
//               of power would leave: time (ns since 1970), operation, file, offset, length, then the bytes
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile uint32_t *control;
static int record = -1;
static uint32_t syncs, writes;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    const char *path = getenv("IO_CONTROL");
    if (path) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page == MAP_FAILED) abort();
        control = page;
    }
    path = getenv("IO_RECORD");
    if (path && (record = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0) abort();
}

static char kind_of(const char *path, size_t length) {
    if (length > 3 && !memcmp(path + length - 3, ".db", 3)) return 'd';
    if (length > 7 && !memcmp(path + length - 7, ".db-wal", 7)) return 'w';
    return 0;
}

static char kind(int fd) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path);
    return length < 0 ? 0 : kind_of(path, length);
}

static void note(char operation, char file, uint64_t offset, const void *bytes, uint64_t length) {
    if (record < 0) return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct __attribute__((packed)) { uint64_t at; char operation, file; uint64_t offset, length; } head =
        {now.tv_sec * 1000000000ull + now.tv_nsec, operation, file, offset, length};
    // At once: the command line beside a collector records too.
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, bytes ? length : 0}};
    if (writev(record, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len)) abort();
}

static int fails(int word, uint32_t *count) {
    uint32_t every = control ? control[word] : 0;
    if (!every || ++*count % every) return 0;
    errno = EIO;
    return 1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    char file = kind(fd);
    if (!file) return real_pwrite(fd, bytes, length, offset);
    pthread_mutex_lock(&order);
    ssize_t done = fails(1, &writes) ? -1 : real_pwrite(fd, bytes, length, offset);
    int error = errno;
    if (done > 0) note('w', file, offset, bytes, done);
    pthread_mutex_unlock(&order);
    errno = error;
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
    char file = kind(fd);
    if (!file) return real_write(fd, bytes, length);
    ssize_t done = pwrite64(fd, bytes, length, lseek(fd, 0, SEEK_CUR));
    if (done > 0) lseek(fd, done, SEEK_CUR);
    return done;
}

int ftruncate64(int fd, off_t length) {
    char file = kind(fd);
    if (!file) return real_ftruncate(fd, length);
    pthread_mutex_lock(&order);
    int done = real_ftruncate(fd, length);
    if (!done) note('t', file, length, NULL, 0);
    pthread_mutex_unlock(&order);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    int done = real_unlink(path);
    char file = kind_of(path, strlen(path));
    if (!done && file) {
        pthread_mutex_lock(&order);
        note('u', file, 0, NULL, 0);
        pthread_mutex_unlock(&order);
    }
    return done;
}

static int synced(int fd, int (*real)(int)) {
    char file = kind(fd);
    if (!file) return real(fd);
    pthread_mutex_lock(&order);
    note('b', file, 0, NULL, 0);
    int done = fails(0, &syncs) ? -1 : real(fd);
    int error = errno;
    if (!done) note('s', file, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    errno = error;
    return done;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }
