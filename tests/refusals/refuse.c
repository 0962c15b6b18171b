/* Preloaded into mcfwd by tests/refusals/page.py: refuses calls to one process, from a moment that the test chooses.

   What it does is said in a page that it shares with the test. Each call has a number, in the order of CALLS; page.py
   reads the names from there. While the page names a process, each call of `calls` that this process makes fails with
   `error`, `left` times (-1: until the test says otherwise), and at the first refusal `victim` is killed. All other
   processes, and all other calls, only pass through; the allocator, locks and exit do not come by here at all, since
   the C library reaches the kernel for them without these names. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define CALLS(X) \
    X(fork) X(spawn) X(exec) X(thread) \
    X(socket) X(socketpair) X(setsockopt) X(bind) X(getsockname) X(sendmsg) X(recvmsg) X(recv) X(netlink_send) \
    X(netlink_recv) X(open) X(opendir) X(pipe) X(eventfd) X(memfd) \
    X(epoll_create) X(epoll_ctl) X(epoll_wait) X(mmap)

#define NUMBER(name) CALL_##name,
enum { CALLS(NUMBER) COUNT };

struct page {
    int32_t pid, error, victim, left;
    uint64_t calls;
    uint32_t refused[64], made[64];
};

static struct page nobody, *page = &nobody;

__attribute__((constructor)) static void open_page(void) {
    const char *path = getenv("MCFWD_REFUSALS");
    int (*really_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    void *(*really_map)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    int fd = path ? really_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *memory = really_map(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED) page = memory;
}

/* Whether one of `left` is still to be had: several threads ask. */
static int taken(void) {
    int32_t left = __atomic_load_n(&page->left, __ATOMIC_SEQ_CST);
    while (left > 0)
        if (__atomic_compare_exchange_n(&page->left, &left, left - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return 1;
    return left < 0;
}

static int refused_to(int32_t who, int call) {
    if (page->pid == 0 || page->pid != who) return 0;
    __atomic_add_fetch(&page->made[call], 1, __ATOMIC_SEQ_CST);
    if (!(page->calls >> call & 1) || !taken()) return 0;
    __atomic_add_fetch(&page->refused[call], 1, __ATOMIC_SEQ_CST);
    int32_t victim = __atomic_exchange_n(&page->victim, 0, __ATOMIC_SEQ_CST);
    if (victim) {
        int (*really_kill)(pid_t, int) = dlsym(RTLD_NEXT, "kill");
        really_kill(victim, SIGKILL);
    }
    errno = page->error;
    return 1;
}

static int refused(int call) { return page->pid != 0 && refused_to(getpid(), call); }

/* The real call, found when it is first needed. */
#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define PASS(kind, name, call, parameters, arguments) \
    kind name parameters { \
        NEXT(name); \
        return refused(CALL_##call) ? (kind)-1 : next arguments; \
    }

PASS(pid_t, fork, fork, (void), ())
/* vfork may be fork (vfork(2)); a function that stands before the real one could not return twice. */
pid_t vfork(void) { return fork(); }

/* Made by the child that fork left, on behalf of its parent. */
int execve(const char *path, char *const argv[], char *const envp[]) {
    NEXT(execve);
    return page->pid != 0 && refused_to(getppid(), CALL_exec) ? -1 : next(path, argv, envp);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                char *const argv[], char *const envp[]) {
    NEXT(posix_spawn);
    return refused(CALL_spawn) ? errno : next(pid, path, actions, attr, argv, envp);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument) {
    NEXT(pthread_create);
    return refused(CALL_thread) ? errno : next(thread, attr, start, argument);
}

PASS(int, socket, socket, (int domain, int type, int protocol), (domain, type, protocol))
PASS(int, socketpair, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends))
PASS(int, setsockopt, setsockopt, (int fd, int level, int name, const void *value, socklen_t length),
     (fd, level, name, value, length))
PASS(int, bind, bind, (int fd, const struct sockaddr *address, socklen_t length), (fd, address, length))
PASS(int, getsockname, getsockname, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))

static int is_netlink(int fd) {
    int domain = 0;
    socklen_t length = sizeof domain;
    int was = errno, failed = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    errno = was;
    return !failed && domain == AF_NETLINK;
}

static int refused_on(int fd, int call, int netlink) {
    return page->pid != 0 && refused(is_netlink(fd) ? netlink : call);
}

#define PASS_ON(kind, name, call, netlink, parameters, arguments) \
    kind name parameters { \
        NEXT(name); \
        return refused_on(fd, CALL_##call, CALL_##netlink) ? -1 : next arguments; \
    }

PASS_ON(ssize_t, sendmsg, sendmsg, netlink_send, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
PASS_ON(ssize_t, send, sendmsg, netlink_send, (int fd, const void *octets, size_t size, int flags),
        (fd, octets, size, flags))
PASS_ON(ssize_t, sendto, sendmsg, netlink_send,
        (int fd, const void *octets, size_t size, int flags, const struct sockaddr *to, socklen_t length),
        (fd, octets, size, flags, to, length))
PASS_ON(ssize_t, recvmsg, recvmsg, netlink_recv, (int fd, struct msghdr *message, int flags), (fd, message, flags))
PASS_ON(ssize_t, recv, recv, netlink_recv, (int fd, void *octets, size_t size, int flags), (fd, octets, size, flags))
PASS_ON(ssize_t, recvfrom, recv, netlink_recv,
        (int fd, void *octets, size_t size, int flags, struct sockaddr *from, socklen_t *length),
        (fd, octets, size, flags, from, length))

#define OPEN(name, before, given) \
    int name(before const char *path, int flags, ...) { \
        NEXT(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return refused(CALL_open) ? -1 : next(given path, flags, mode); \
    }
#define COMMA ,
OPEN(open, , )
OPEN(open64, , )
OPEN(openat, int directory COMMA, directory COMMA)
OPEN(openat64, int directory COMMA, directory COMMA)
DIR *opendir(const char *path) {
    NEXT(opendir);
    return refused(CALL_opendir) ? NULL : next(path);
}

PASS(int, pipe, pipe, (int ends[2]), (ends))
PASS(int, pipe2, pipe, (int ends[2], int flags), (ends, flags))
PASS(int, eventfd, eventfd, (unsigned count, int flags), (count, flags))
PASS(int, memfd_create, memfd, (const char *name, unsigned flags), (name, flags))
PASS(int, epoll_create, epoll_create, (int size), (size))
PASS(int, epoll_create1, epoll_create, (int flags), (flags))
PASS(int, epoll_wait, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout),
     (epoll, events, most, timeout))

/* What is there can be taken off without memory. */
int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event) {
    NEXT(epoll_ctl);
    return what != EPOLL_CTL_DEL && refused(CALL_epoll_ctl) ? -1 : next(epoll, what, fd, event);
}

/* Of descriptors: the interpreter's own memory comes by here too, and is not refused. */
#define MAP(name, offset_t) \
    void *name(void *address, size_t size, int access, int flags, int fd, offset_t offset) { \
        NEXT(name); \
        return fd >= 0 && refused(CALL_mmap) ? MAP_FAILED : next(address, size, access, flags, fd, offset); \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)
