/* Runs a command and lets chosen system calls of it fail, whoever makes them: Python, compiled modules, libraries, threads
 * and processes that it starts.
 *
 *     faults RECORD|- [PROCESS:CALL:ERRNO:FROM:TIMES]... -- COMMAND...
 *
 * PROCESS counts the processes of the command in the order in which they come (1: the command itself, 0: any of them),
 * CALL and ERRNO are numbers, FROM counts such calls of such a process from 1; TIMES 0 is all from there on. RECORD is a
 * file that gets a line for each call, "PROCESS CALL COUNT FILE".
 *
 * A filter of seccomp hands each of these calls to this process, which lets it go on or answers with an error
 * (seccomp_unotify(2)). Nothing is counted before the command has blocked SIGHUP, SIGINT, SIGUSR1 and SIGTERM: what an
 * interpreter does before its program runs is not what is tested. Ends with the status of the command, 128 and more for
 * a signal, once no process of it is left. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 64
#define CALLS 512
#define PROCESSES 32

struct order { int process, call, error, from, times; };
static struct order orders[MOST];
static int order_count, begun, process_count;
static pid_t processes[PROCESSES];
static int counts[PROCESSES + 1][CALLS];

/* Those that must go on: they end something, or the answer to a signal, or never fail. */
static int left_alone(int call)
{
    return call == SYS_exit || call == SYS_exit_group || call == SYS_rt_sigreturn || call == SYS_restart_syscall
        || call == SYS_futex || call == SYS_seccomp || call == SYS_sched_yield;
}

static int install(void)
{
    static struct sock_filter filter[CALLS];
    struct sock_fprog program = {0, filter};
    int i, n = 0;
    /* All are asked about, not only those of the orders: processes are counted by the first call that is seen. */
    filter[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (i = 0; i < CALLS; i++)
        if (left_alone(i)) {
            filter[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) i, 0, 1);
            filter[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        }
    filter[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    program.len = (unsigned short) n;
    return (int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static pid_t process_of(pid_t thread)
{
    char path[64], line[256];
    int pid = thread;
    FILE *file;
    snprintf(path, sizeof path, "/proc/%d/status", thread);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Tgid: %d", &pid) == 1)
            break;
    if (file)
        fclose(file);
    return pid;
}

static int index_of(pid_t thread)
{
    static pid_t last_thread, last_index;
    pid_t process;
    int i;
    if (thread == last_thread)
        return last_index;
    process = process_of(thread);
    for (i = 0; i < process_count && processes[i] != process; i++)
        ;
    if (i == process_count && process_count < PROCESSES)
        processes[process_count++] = process;
    last_thread = thread;
    return last_index = i + 1 > PROCESSES ? PROCESSES : i + 1;
}

static int begins(const struct seccomp_notif *call)
{
    unsigned long set = 0, wanted = 1UL << (SIGHUP - 1) | 1UL << (SIGINT - 1) | 1UL << (SIGUSR1 - 1)
        | 1UL << (SIGTERM - 1);
    struct iovec here = {&set, sizeof set}, there = {(void *) call->data.args[1], sizeof set};
    return call->data.nr == SYS_rt_sigprocmask && call->data.args[0] == SIG_BLOCK
        && process_vm_readv((pid_t) call->pid, &here, 1, &there, 1, 0) == sizeof set && set == wanted;
}

/* The file that a call is about, as far as that can be told: by a path, or by a descriptor. */
static void name_file(const struct seccomp_notif *call, char *name, size_t size)
{
    char path[64];
    ssize_t length = -1;
    struct iovec here = {name, size - 1}, there = {NULL, size - 1};
    name[0] = 0;
    switch (call->data.nr) {
    case SYS_openat: case SYS_newfstatat: case SYS_faccessat: case SYS_faccessat2: case SYS_readlinkat: case SYS_unlinkat:
        there.iov_base = (void *) call->data.args[1];
        break;
    case SYS_execve:
#ifdef SYS_open  /* newer architectures have only the calls above */
    case SYS_stat: case SYS_lstat: case SYS_open: case SYS_access: case SYS_readlink: case SYS_unlink:
#endif
        there.iov_base = (void *) call->data.args[0];
        break;
    case SYS_mmap:
        snprintf(path, sizeof path, "/proc/%d/fd/%d", call->pid, (int) call->data.args[4]);
        length = (int) call->data.args[4] < 0 ? -1 : readlink(path, name, size - 1);
        break;
    case SYS_read: case SYS_write: case SYS_fstat: case SYS_lseek: case SYS_close: case SYS_ioctl: case SYS_getdents64:
    case SYS_fcntl: case SYS_pread64:
        snprintf(path, sizeof path, "/proc/%d/fd/%d", call->pid, (int) call->data.args[0]);
        length = readlink(path, name, size - 1);
        break;
    }
    if (there.iov_base) {
        there.iov_len = here.iov_len = 4096 - ((unsigned long) there.iov_base & 4095) < size - 1
            ? 4096 - ((unsigned long) there.iov_base & 4095) : size - 1;
        length = process_vm_readv((pid_t) call->pid, &here, 1, &there, 1, 0);
    }
    name[length < 0 ? 0 : length] = 0;
}

static int ordered(int process, int call)
{
    int i, error = 0, count = ++counts[process][call], any = ++counts[0][call];
    for (i = 0; i < order_count; i++) {
        const struct order *one = &orders[i];
        int at = one->process ? count : any;
        if (one->call == call && (one->process == 0 || one->process == process) && at >= one->from
                && (one->times == 0 || at < one->from + one->times))
            error = one->error;
    }
    return error;
}

static void supervise(int listener, FILE *record)
{
    struct pollfd waits = {listener, POLLIN, 0};
    struct seccomp_notif call;
    struct seccomp_notif_resp answer;
    char name[512];
    while (poll(&waits, 1, -1) >= 0 || errno == EINTR) {
        if (!(waits.revents & POLLIN)) {
            if (waits.revents & POLLHUP)
                return;
            continue;
        }
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
            continue;
        memset(&answer, 0, sizeof answer);
        answer.id = call.id;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if (!begun)
            begun = begins(&call);
        else if (call.data.nr >= 0 && call.data.nr < CALLS) {
            int process = index_of((pid_t) call.pid), error = ordered(process, call.data.nr);
            if (record) {
                name_file(&call, name, sizeof name);
                fprintf(record, "%d %d %d %s\n", process, call.data.nr, counts[process][call.data.nr], name);
            }
            if (error) {
                answer.flags = 0;
                answer.error = -error;
            }
        }
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

int main(int argc, char **argv)
{
    int listener = -1, status = 0, at = 2, pidfd;
    FILE *record;
    pid_t child;
    for (; at < argc && strcmp(argv[at], "--") != 0 && order_count < MOST; at++) {
        struct order *one = &orders[order_count++];
        if (sscanf(argv[at], "%d:%d:%d:%d:%d", &one->process, &one->call, &one->error, &one->from, &one->times) != 5)
            return 125;
    }
    if (at + 1 >= argc)
        return 125;
    record = strcmp(argv[1], "-") ? fopen(argv[1], "we") : NULL;
    child = fork();
    if (child == 0) {
        listener = install();
        if (listener < 0)
            _exit(125);
        /* It waits here until the listener, which execvp() closes, was fetched: handing it over would be such a call. */
        sigprocmask(SIG_BLOCK, NULL, NULL);
        execvp(argv[at + 1], argv + at + 1);
        _exit(127);
    }
    pidfd = (int) syscall(SYS_pidfd_open, child, 0);
    while (listener < 0 && waitpid(child, &status, WNOHANG) == 0) {
        char path[64], name[64];
        int fd;
        for (fd = 3; fd < 16 && listener < 0; fd++) {
            ssize_t length;
            snprintf(path, sizeof path, "/proc/%d/fd/%d", child, fd);
            length = readlink(path, name, sizeof name - 1);
            name[length < 0 ? 0 : length] = 0;
            if (strstr(name, "seccomp notify"))
                listener = (int) syscall(SYS_pidfd_getfd, pidfd, fd, 0);
        }
        usleep(500);
    }
    if (listener < 0)
        return 125;
    fcntl(listener, F_SETFD, FD_CLOEXEC);
    supervise(listener, record);
    waitpid(child, &status, 0);
    if (record)
        fclose(record);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
