/* What a test can order of the system calls of a queue thread: LD_PRELOAD=orders.so, and the file of MXALLOWD_ORDERS is
 * mapped. It holds five numbers of 32 bits: errno and how often for recvmmsg, errno and how often for send on a netlink
 * socket, and the microseconds that each recvmmsg takes in addition: sleeping, or if it is negative, busy. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct orders { struct order { int number; atomic_int times; } receive, send; atomic_int pause_us; } *orders;

__attribute__((constructor)) static void open_orders(void)
{
    const char *path = getenv("MXALLOWD_ORDERS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    orders = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (orders == MAP_FAILED)
        orders = NULL;
    close(fd);
}

static int fails(struct order *order)
{
    if (atomic_load(&order->times) <= 0)
        return 0;
    atomic_fetch_sub(&order->times, 1);
    errno = order->number;
    return 1;
}

static void spend(int microseconds)
{
    struct timespec start, now;
    if (microseconds > 0)
        usleep((useconds_t) microseconds);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < -microseconds);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    static int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *);
    if (!real)
        real = (int (*)(int, struct mmsghdr *, unsigned, int, struct timespec *)) dlsym(RTLD_NEXT, "recvmmsg");
    if (orders)
        spend(atomic_load(&orders->pause_us));
    return orders && fails(&orders->receive) ? -1 : real(fd, messages, count, flags, timeout);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    static ssize_t (*real)(int, const void *, size_t, int);
    int domain = 0;
    socklen_t size = sizeof domain;
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t, int)) dlsym(RTLD_NEXT, "send");
    if (orders && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_NETLINK
            && fails(&orders->send))
        return -1;
    return real(fd, data, length, flags);
}
