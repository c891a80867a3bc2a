/* Answers of the kernel that a test can order: LD_PRELOAD=errors.so, and the file of MXALLOWD_ERRORS is mapped. It holds
 * four numbers of 32 bits: errno and how often for recvmmsg, errno and how often for send on a netlink socket. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct order { int number; atomic_int times; } *orders;

__attribute__((constructor)) static void open_orders(void)
{
    const char *path = getenv("MXALLOWD_ERRORS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    orders = mmap(NULL, 2 * sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (orders == MAP_FAILED)
        orders = NULL;
    close(fd);
}

static int fails(struct order *order)
{
    if (!orders || atomic_load(&order->times) <= 0)
        return 0;
    atomic_fetch_sub(&order->times, 1);
    errno = order->number;
    return 1;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    static int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *);
    if (!real)
        real = (int (*)(int, struct mmsghdr *, unsigned, int, struct timespec *)) dlsym(RTLD_NEXT, "recvmmsg");
    return fails(orders) ? -1 : real(fd, messages, count, flags, timeout);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    static ssize_t (*real)(int, const void *, size_t, int);
    int domain = 0;
    socklen_t size = sizeof domain;
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t, int)) dlsym(RTLD_NEXT, "send");
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_NETLINK && fails(orders + 1))
        return -1;
    return real(fd, data, length, flags);
}
