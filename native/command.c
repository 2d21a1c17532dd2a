/* The start of a command: hands its invocation to a worker of the cluster's command host, which runs the Python code of the command.
 *
 * A Python interpreter takes 8 ms of CPU to start; a worker is forked from one that has started. One binary stands for every command: its
 * own file name says which. Nothing about options is known here; there is one implementation of them, in src/penstock/cli.
 *
 * What the worker gets: argv, environment, umask, the signals that are ignored, descriptors 0 to 2 and the working directory. The kernel
 * tells it who calls. What the worker cannot be told (a terminal to read from, another mount namespace) it declines, and wherever no
 * worker answers, the command runs in an interpreter of its own: `penstock-command NAME ARGUMENTS`, beside this file.
 *
 * Signals go on to the worker; when this process is killed the closed socket tells the worker, which ends too.
 * The frames are described in src/penstock/cli/worker.py. Prior art: chg of Mercurial, gpg-agent's clients, nailgun.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define MAGIC 0x31434e50u /* "PNC1" */
#define REQUEST_MAX (16u << 20) /* bytes of arguments and environment; more run in an interpreter of their own */
#define DESCRIPTORS 3

extern char **environ;

struct request {
    uint32_t magic, length; /* length: bytes of strings that follow */
    uint32_t arguments, umask, open_descriptors, ignored_signals; /* the last two are bit masks; bit N: descriptor or signal N */
    uint64_t mount_namespace, root_device, root_inode;
};

struct answer {
    uint32_t kind; /* 'w': a worker took it, value is its pid; 'd': it declines; 'x': the command ended, value is its exit status */
    uint32_t value;
};

static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH, SIGTSTP};

static int connect_host(void) {
    const char *folder = getenv("PENSTOCK_DIR");
    char path[PATH_MAX];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred host;
    socklen_t size = sizeof host;
    if (!folder || !*folder || snprintf(path, sizeof path, "%s/socket", folder) >= (int)sizeof path) return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t length = read(fd, path, sizeof path - 1);
    close(fd);
    if (length <= 0) return -1;
    path[length] = 0;
    path[strcspn(path, "\n")] = 0;
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/commands.sock", path) >= (int)sizeof address.sun_path) return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &host, &size) ||
        (host.uid != 0 && host.uid != geteuid()) || getuid() != geteuid() || getgid() != getegid()) {
        close(fd);
        return -1;
    }
    return fd;
}

static size_t string_bytes(char **strings) {
    size_t total = 0;
    for (; *strings; strings++) total += strlen(*strings) + 1;
    return total;
}

static char *append(char *at, char **strings) {
    for (; *strings; strings++) at = stpcpy(at, *strings) + 1;
    return at;
}

/* Descriptors 0 to 2 that are closed get a placeholder, which nobody inherits, so that no socket of ours takes their number. */
static uint32_t hold_places(void) {
    uint32_t open_descriptors = 0;
    for (int number = 0; number < DESCRIPTORS; number++)
        if (fcntl(number, F_GETFD) >= 0)
            open_descriptors |= 1u << number;
        else if (open("/dev/null", O_RDWR | O_CLOEXEC) != number)
            return 0;
    return open_descriptors;
}

/* True when the whole invocation was sent. */
static int send_request(int fd, int argc, char **argv, uint32_t open_descriptors) {
    size_t length = string_bytes(argv) + string_bytes(environ);
    struct request request = {.magic = MAGIC, .arguments = (uint32_t)argc, .open_descriptors = open_descriptors};
    struct stat status;
    struct sigaction action;
    int descriptors[DESCRIPTORS + 1], count = 0;
    if (length > REQUEST_MAX) return 0;
    request.length = (uint32_t)length;
    request.umask = umask(0);
    umask(request.umask);
    if (stat("/proc/self/ns/mnt", &status)) return 0;
    request.mount_namespace = status.st_ino;
    if (stat("/", &status)) return 0;
    request.root_device = status.st_dev;
    request.root_inode = status.st_ino;
    for (int number = 1; number < 32; number++)
        if (!sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN) request.ignored_signals |= 1u << number;
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (here < 0) return 0;
    descriptors[count++] = here;
    for (int number = 0; number < DESCRIPTORS; number++)
        if (open_descriptors & 1u << number) descriptors[count++] = number;
    char *strings = malloc(length);
    if (!strings) return 0;
    append(append(strings, argv), environ);

    struct iovec parts[2] = {{&request, sizeof request}, {strings, length}};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof descriptors)];
    } control = {0};
    size_t descriptor_bytes = (size_t)count * sizeof(int);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = CMSG_SPACE(descriptor_bytes)};
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(descriptor_bytes);
    memcpy(CMSG_DATA(item), descriptors, descriptor_bytes);
    size_t left = sizeof request + length;
    while (left) {
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) break;
        left -= (size_t)sent;
        message.msg_control = NULL;
        message.msg_controllen = 0;
        for (int part = 0; part < 2; part++) {
            size_t taken = (size_t)sent < parts[part].iov_len ? (size_t)sent : parts[part].iov_len;
            parts[part].iov_base = (char *)parts[part].iov_base + taken;
            parts[part].iov_len -= taken;
            sent -= (ssize_t)taken;
        }
    }
    free(strings);
    close(here);
    return !left;
}

static int read_answer(int fd, struct answer *answer) {
    char *at = (char *)answer;
    size_t left = sizeof *answer;
    while (left) {
        ssize_t length = read(fd, at, left);
        if (length < 0 && errno == EINTR) continue;
        if (length <= 0) return 0;
        at += length;
        left -= (size_t)length;
    }
    return 1;
}

/* Dies as the worker died of the signal that was passed on, or says that it was killed; the exit status. */
static int end_without_answer(int last_signal) {
    static const char text[] = "penstock: error: the process that ran this command was killed\n";
    if (last_signal) {
        sigset_t all;
        sigfillset(&all);
        signal(last_signal, SIG_DFL);
        raise(last_signal);
        sigprocmask(SIG_UNBLOCK, &all, NULL);
    }
    return write(2, text, sizeof text - 1) < 0 ? 1 : 1;
}

/* Signals to the worker, a byte each, until it says how the command ended; the exit status. They do not go through kill: by the time one
 * arrives the worker may serve somebody else. A stopped worker serves nobody else, so SIGCONT may. */
static int wait_for_end(int fd, pid_t worker, int signals) {
    struct pollfd watched[2] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    struct answer answer;
    int last_signal = 0;
    for (;;) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR) return 1;
        if (watched[0].revents) return read_answer(fd, &answer) && answer.kind == 'x' ? (int)answer.value : end_without_answer(last_signal);
        if (watched[1].revents) {
            struct signalfd_siginfo info;
            if (read(signals, &info, sizeof info) != sizeof info) continue;
            unsigned char number = info.ssi_signo == SIGTSTP ? SIGSTOP : (unsigned char)info.ssi_signo;
            ssize_t sent = send(fd, &number, 1, MSG_NOSIGNAL);
            if (number == SIGSTOP) {
                raise(SIGSTOP);
                kill(worker, SIGCONT);
            } else if (sent == 1 && number != SIGCONT && number != SIGWINCH) {
                last_signal = number;
            }
        }
    }
}

/* Runs the command in an interpreter of its own. Only returns if that cannot be started. */
static void run_here(const char *self, const char *name, int argc, char **argv) {
    char path[PATH_MAX + 32];
    char **words = calloc((size_t)argc + 3, sizeof *words);
    snprintf(path, sizeof path, "%.*spenstock-command", (int)(name - self), self);
    if (!words) return;
    words[0] = path;
    words[1] = (char *)name;
    for (int at = 1; at < argc; at++) words[at + 1] = argv[at];
    execv(path, words);
    fprintf(stderr, "%s: error: %s: %s\n", name, path, strerror(errno));
}

int main(int argc, char **argv) {
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0 || argc < 1) {
        static const char text[] = "penstock: error: /proc/self/exe cannot be read\n";
        return write(2, text, sizeof text - 1) < 0 ? 1 : 1;
    }
    self[length] = 0;
    char *name = strrchr(self, '/') + 1;
    argv[0] = name;
    uint32_t open_descriptors = hold_places();
    int fd = connect_host();
    if (fd >= 0) {
        sigset_t forwarded, before;
        struct sigaction action;
        struct answer answer;
        sigemptyset(&forwarded);
        for (size_t at = 0; at < sizeof passed_on / sizeof *passed_on; at++)
            if (!sigaction(passed_on[at], NULL, &action) && action.sa_handler != SIG_IGN) sigaddset(&forwarded, passed_on[at]);
        sigprocmask(SIG_BLOCK, &forwarded, &before);
        int signals = signalfd(-1, &forwarded, SFD_CLOEXEC);
        if (signals >= 0 && send_request(fd, argc, argv, open_descriptors) && read_answer(fd, &answer) && answer.kind == 'w')
            return wait_for_end(fd, (pid_t)answer.value, signals);
        close(fd);
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
    run_here(self, name, argc, argv);
    return 127;
}
