"""c-ares through pycares and nothing around it: PTR, then A and AAAA of each host, a window of queries in flight.

    python bare_pycares.py SERVER FIRST COUNT WINDOW

Prints the seconds that took and the processor seconds of this process. Confirms nothing, admits nobody, and every
call happens on the one thread of an epoll loop, as in the daemon.
"""
import ipaddress
import select
import sys
import time

import pycares

server, first, count, window = sys.argv[1], ipaddress.ip_address(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
poll = select.epoll()
watched: set[int] = set()
asked: list[str] = []
ended: list[int] = []  # answers in each end of a query
names = iter([(first + number).reverse_pointer for number in range(count)])


def changed(descriptor: int, readable: bool, writable: bool) -> None:
    events = (select.EPOLLIN if readable else 0) | (select.EPOLLOUT if writable else 0)
    if descriptor in watched:
        if events:
            poll.modify(descriptor, events)
        else:
            watched.discard(descriptor)
            poll.unregister(descriptor)
    elif events:
        watched.add(descriptor)
        poll.register(descriptor, events)


channel = pycares.Channel(servers=[server], lookups="b", timeout=1.5, tries=2, sock_state_cb=changed,
                          socket_receive_buffer_size=1 << 20, flags=pycares.ARES_FLAG_NOSEARCH)


def ask(name: str, kind: int) -> None:
    asked.append(name)
    channel.query(name, kind, callback=named if kind == pycares.QUERY_TYPE_PTR else addressed)


def named(result: pycares.DNSResult | None, error: int | None) -> None:
    ended.append(0)
    if result is None:
        sys.exit(f"bare_pycares: {pycares.errno.strerror(error or 0)!r}")
    for record in result.answer:
        if isinstance(record.data, pycares.PTRRecordData):
            ask(record.data.dname, pycares.QUERY_TYPE_A)
            ask(record.data.dname, pycares.QUERY_TYPE_AAAA)


def addressed(result: pycares.DNSResult | None, error: int | None) -> None:
    ended.append(len(result.answer) if result else 0)


started, processor = time.perf_counter(), time.process_time()
left = True
while left or len(ended) < len(asked):
    while left and len(asked) - len(ended) < window - 2:
        name = next(names, None)
        if name is None:
            left = False
        else:
            ask(name, pycares.QUERY_TYPE_PTR)
    for descriptor, events in poll.poll(1):
        bad = pycares.ARES_SOCKET_BAD
        channel.process_fd(descriptor if events & ~select.EPOLLOUT else bad,
                           descriptor if events & select.EPOLLOUT else bad)
if sum(ended) < count:
    sys.exit(f"bare_pycares: {sum(ended)} answers for {count} hosts")
print(time.perf_counter() - started, time.process_time() - processor)
