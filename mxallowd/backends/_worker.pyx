"""A queue thread: see _worker.pxd.

Which way it fails: a packet that cannot be read is accepted. An overrun (ENOBUFS) is counted and never ends the loop,
since a queue that is bound and not served stops all mail. An error that says that this process may not or cannot serve
the queue (EPERM, ENODEV, ECONNREFUSED, a closed socket) ends the thread, and with it the process, so that the kernel's
--queue-bypass takes effect.
"""
cimport cython
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, ENODEV, ENOENT, ENOMEM, EPERM, errno
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.time cimport clock_gettime, timespec
from posix.unistd cimport write

from mxallowd._fastpath cimport Fastpath, decide, take_over
from mxallowd.backends._nfnetlink cimport IN_BROKEN, IN_ERROR, IN_PACKET, Incoming, Message, read_message
from mxallowd.backends._verdicts cimport Written, write_verdicts
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine._records cimport Record, Restored, restore_records
from mxallowd.engine._ring cimport STOPPED, SWEPT, Event, ring_claim, ring_publish, ring_wake
from mxallowd.engine._shard cimport Shard, shard_sweep
from mxallowd.engine._table cimport lenient_until
from mxallowd.watchdog._watch cimport Heartbeats
from mxallowd.engine.c_atomic cimport (
    ACQ_REL, ACQUIRE, RELAXED, RELEASE, count_up, exchange32, fetch_or32, load32, load64, store32, store64)
from mxallowd.backends.c_netlink cimport (
    MSG_DONTWAIT, MSG_WAITFORONE, NLM_F_ACK, NLM_F_REQUEST, NLMSG_NOOP, nlmsghdr, recvmmsg, send)
from mxallowd.watchdog.c_threads cimport (
    PR_SET_NAME, PRIO_PROCESS, QUEUE_NICENESS, gettid, prctl, pthread_tryjoin_np, setpriority, start_thread)

cdef extern from "<time.h>" nogil:
    const int CLOCK_BOOTTIME

cdef enum:
    SWEEP_STEP = 1024   # entries between two batches: some 20 microseconds
    RESTORE_STEP = 512  # records between two batches: some 100 microseconds
    SEND_TRIES = 3
    LENIENT_US = 600_000    # from the fake server to the real one


cdef inline uint64_t boottime_us() noexcept nogil:
    # Counts through suspend and ignores every change of the wall clock (clock_gettime(2)). Served by the vDSO.
    cdef timespec now
    clock_gettime(CLOCK_BOOTTIME, &now)
    return <uint64_t> now.tv_sec * 1000000 + <uint64_t> (now.tv_nsec // 1000)


cdef inline bint is_fatal(int error) noexcept nogil:
    return error == EPERM or error == ENODEV or error == ECONNREFUSED


cdef int send_all(Worker *worker, const uint8_t *data, size_t length) noexcept nogil:
    """0 or an errno. The kernel takes the whole or nothing; it may lack memory for a moment."""
    cdef int tries = 0, error = 0
    while tries < SEND_TRIES:
        if send(worker.fd, data, length, 0) >= 0:
            return 0
        error = errno
        if error == EINTR:
            # All signals are blocked here: one that came nevertheless does not come for ever.
            count_up(&worker.traffic.interrupted, 1)
            continue
        tries += 1
        if error != ENOBUFS and error != ENOMEM and error != EAGAIN:
            break
    return error


cdef void send_verdicts(Worker *worker) noexcept nogil:
    """One send for the batch."""
    cdef Written written = write_verdicts(
        worker.verdicts, worker.queue, worker.ids, worker.marks, worker.packets, worker.filled, &worker.marking,
        worker.path.pending)
    cdef int error = send_all(worker, worker.verdicts, written.length)
    if error:
        count_up(&worker.traffic.unsent, worker.filled)
        count_up(&worker.traffic.errors, 1)
        if is_fatal(error):
            worker.error = error
        return
    count_up(&worker.traffic.verdict_drop, written.dropped)
    count_up(&worker.traffic.verdict_reset, written.rejected)
    count_up(&worker.traffic.verdict_accept, worker.filled - written.dropped - written.rejected)
    count_up(&worker.traffic.not_rejected, written.unrejected)
    count_up(&worker.traffic.came_again, written.again)


cdef inline void beat(Worker *worker) noexcept nogil:
    count_up(worker.beat, 1)


cdef inline void note_number(Worker *worker, uint32_t id, uint64_t now_us) noexcept nogil:
    """The kernel numbers what it sends; what had no room in our socket leaves a gap, whatever became of it.

    If the kernel lets such packets pass, a contact with the fake server may be among them that nobody has seen. Its
    host comes to the real server at once, by any of our queues, and must get in.
    """
    if worker.counting and id != worker.last_id + 1:
        # A number from before is a message twice, or a queue bound anew: nothing is missing.
        if <int32_t> (id - worker.last_id) > 0:
            count_up(&worker.traffic.queue_full, id - worker.last_id - 1)
            if worker.passes:
                lenient_until(worker.path.leniency, now_us + LENIENT_US)
    worker.counting = True
    worker.last_id = id


cdef void answer_batch(Worker *worker) noexcept nogil:
    if worker.filled == 0:
        # Woken, perhaps because of new rules: without packets it would keep the old ones for ever.
        take_over(worker.path)
        return
    count_up(&worker.traffic.received, worker.filled)
    decide(worker.path, worker.packets, worker.filled)
    send_verdicts(worker)
    worker.filled = 0
    beat(worker)


cdef void take_error(Worker *worker, int error) noexcept nogil:
    if error == 0:
        return
    if error == ENOENT:
        count_up(&worker.traffic.unknown, 1)
        return
    count_up(&worker.traffic.errors, 1)
    if is_fatal(error):
        worker.error = error


cdef void take_datagram(Worker *worker, const uint8_t *data, size_t length, uint64_t now_us) noexcept nogil:
    cdef Message message
    cdef Incoming incoming
    cdef size_t at = 0, taken = 0
    while at < length:
        incoming = read_message(data + at, length - at, &message, &taken)
        at += taken
        if incoming == IN_PACKET:
            if worker.filled == BATCH:
                answer_batch(worker)
            note_number(worker, message.id, now_us)
            worker.ids[worker.filled] = message.id
            worker.marks[worker.filled] = message.mark
            worker.packets[worker.filled].now_us = now_us
            worker.packets[worker.filled].data = message.payload
            worker.packets[worker.filled].length = message.payload_length
            worker.filled += 1
        elif incoming == IN_ERROR:
            take_error(worker, message.error)
        elif incoming == IN_BROKEN:
            count_up(&worker.traffic.broken, 1)


cdef int receive(Worker *worker, int flags) noexcept nogil:
    """Take what has arrived and answer it; the number of messages, 0 where nothing waits."""
    cdef int received = recvmmsg(worker.fd, worker.messages, BATCH, flags, NULL)
    cdef uint64_t now_us
    cdef size_t length
    cdef int i
    if received < 0:
        if errno == ENOBUFS:
            count_up(&worker.traffic.overruns, 1)
            return 1
        if errno == EINTR:
            count_up(&worker.traffic.interrupted, 1)
            return 1
        if errno != EAGAIN:
            worker.error = errno
            count_up(&worker.traffic.errors, 1)
        return 0
    now_us = boottime_us()
    store64(worker.busy, 1, RELAXED)
    for i in range(received):
        length = min(<size_t> worker.messages[i].msg_len, <size_t> BUFFER)
        take_datagram(worker, worker.buffers[i], length, now_us)
    answer_batch(worker)
    store64(worker.busy, 0, RELAXED)
    return received


cdef void tell(Worker *worker, int kind, int error) noexcept nogil:
    cdef Event *event = ring_claim(worker.path.ring, True)
    if event == NULL:
        return
    memset(event, 0, sizeof(Event))
    event.kind = <uint8_t> kind
    event.queue = worker.queue
    event.length = <uint32_t> error
    event.time_us = boottime_us()
    ring_publish(worker.path.ring)


cdef void sweep(Worker *worker) noexcept nogil:
    cdef Shard *own = &worker.path.shards[worker.path.own]
    worker.sweep_at = shard_sweep(own, boottime_us(), worker.sweep_at, SWEEP_STEP)
    if worker.sweep_at == 0:
        tell(worker, SWEPT, 0)


cdef void restore(Worker *worker) noexcept nogil:
    cdef uint32_t count = load32(&worker.record_count, RELAXED)
    cdef uint32_t some = min(count - worker.restore_at, <uint32_t> RESTORE_STEP)
    restore_records(
        worker.path.shards, worker.path.shard_count, worker.path.own, worker.records + worker.restore_at, some,
        boottime_us(), &worker.restored)
    worker.restore_at += some
    if worker.restore_at == count:
        # From here on the main thread may set others.
        store32(&worker.record_count, 0, RELEASE)


cdef inline bint is_restoring(Worker *worker) noexcept nogil:
    return load32(&worker.record_count, ACQUIRE) != 0


cdef void bypass_and_drain(Worker *worker) noexcept nogil:
    """The stop: new packets bypass the queue, then those that wait are answered.

    A queue of length 0 that fails open accepts what comes without queueing it, so nothing is left to be dropped
    when the socket closes.
    """
    if worker.bypass_length:
        send_all(worker, worker.bypass, worker.bypass_length)
    while receive(worker, MSG_DONTWAIT) and not worker.error:
        pass


cdef void *run(void *argument) noexcept nogil:
    cdef Worker *worker = <Worker *> argument
    cdef uint64_t one = 1
    cdef uint32_t requests
    # By the thread itself: of another one it is a write to /proc, which a sandbox may forbid.
    prctl(PR_SET_NAME, worker.name)
    store64(worker.thread, <uint64_t> gettid(), RELAXED)
    # Without the privilege it works as well.
    setpriority(PRIO_PROCESS, 0, QUEUE_NICENESS)
    while not worker.error:
        beat(worker)
        requests = exchange_requests(worker)
        if requests & STOP:
            bypass_and_drain(worker)
            break
        if requests & SWEEP:
            worker.sweep_at = 1
        receive(worker, MSG_DONTWAIT if worker.sweep_at or is_restoring(worker) else MSG_WAITFORONE)
        if worker.sweep_at:
            sweep(worker)
        if is_restoring(worker):
            restore(worker)
        ring_wake(worker.path.ring)
    tell(worker, STOPPED, worker.error)
    store32(&worker.phase, FAILED if worker.error else STOPPED_PHASE, RELEASE)
    # Whether or not the event found room and the reader said that it sleeps: it must learn of this.
    write(worker.path.ring.wake_fd, &one, sizeof(one))
    return NULL


cdef inline uint32_t exchange_requests(Worker *worker) noexcept nogil:
    if load32(&worker.requests, RELAXED) == 0:
        return 0
    return exchange32(&worker.requests, 0, ACQ_REL)


@cython.final
cdef class QueueThread:
    def __cinit__(
            self, fd, queue, Fastpath fastpath not None, bytes bypass=b"", *, Heartbeats heartbeats=None, index=0,
            mark=(0, 0), refused=(0, 0), passes=False, dry_run=False):
        cdef int i
        cdef Worker *worker = <Worker *> calloc(1, sizeof(Worker))
        if not worker:
            raise MemoryError()
        self.worker = worker
        self.fastpath = fastpath
        self.bypass = bypass
        worker.fd = fd
        worker.queue = queue
        worker.marking.value, worker.marking.mask = mark
        worker.marking.refused_value, worker.marking.refused_mask = refused
        worker.marking.dry_run = dry_run
        worker.passes = passes
        worker.path = &fastpath.path
        worker.beat = &worker.unwatched[0]
        worker.busy = &worker.unwatched[1]
        worker.thread = &worker.unwatched[2]
        if heartbeats is not None:
            heartbeats.queue(index)
            worker.beat = &heartbeats.beats.queue[<int> index]
            worker.busy = &heartbeats.beats.busy[<int> index]
            worker.thread = &heartbeats.beats.thread[<int> index]
        self.heartbeats = heartbeats
        worker.bypass = <const uint8_t *> <const char *> bypass
        worker.bypass_length = len(bypass)
        for i in range(BATCH):
            worker.vectors[i].iov_base = worker.buffers[i]
            worker.vectors[i].iov_len = BUFFER
            worker.messages[i].msg_hdr.msg_iov = &worker.vectors[i]
            worker.messages[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        # A thread that was not joined may still look at its worker: better leaked than freed under it.
        if self.worker and (self.joined or not self.started):
            free(self.worker)

    def start(self):
        cdef int status
        if self.started:
            raise RuntimeError("started already")
        snprintf(self.worker.name, sizeof(self.worker.name), b"mxallowd-q%d", <int> self.worker.queue)
        self.worker.phase = RUNNING
        status = start_thread(&self.thread, run, self.worker)
        if status:
            self.worker.phase = IDLE
            raise OSError(status, "cannot start a queue thread")
        self.started = True
        self.fastpath.owned_by_thread = True

    cdef int request(self, uint32_t request) except -1:
        cdef nlmsghdr wake
        cdef int tries = 0
        fetch_or32(&self.worker.requests, request, ACQ_REL)
        memset(&wake, 0, sizeof(wake))
        wake.nlmsg_len = sizeof(wake)
        wake.nlmsg_type = <uint16_t> NLMSG_NOOP
        wake.nlmsg_flags = <uint16_t> (NLM_F_REQUEST | NLM_F_ACK)
        # It may lack memory for a moment, and nobody would ask again.
        while send(self.worker.fd, &wake, sizeof(wake), 0) < 0:
            if (errno == ENOBUFS or errno == ENOMEM or errno == EINTR) and tries < SEND_TRIES:
                tries += 1
                continue
            raise OSError(errno, f"queue {self.worker.queue}: cannot wake its thread")
        return 0

    def request_stop(self):
        self.request(STOP)

    def request_sweep(self):
        self.request(SWEEP)

    def request_restore(self, bytes records not None):
        cdef uint32_t total = <uint32_t> (len(records) // <Py_ssize_t> sizeof(Record))
        if total == 0 or len(records) % <Py_ssize_t> sizeof(Record):
            raise ValueError("these are no records")
        if is_restoring(self.worker):
            raise RuntimeError("records are being restored")
        memset(&self.worker.restored, 0, sizeof(Restored))
        self.records = records
        self.worker.records = <const Record *> <const char *> records
        self.worker.restore_at = 0
        store32(&self.worker.record_count, total, RELEASE)
        self.wake()

    def restored(self):
        cdef Restored *result = &self.worker.restored
        if is_restoring(self.worker):
            return None
        return (load64(&result.entered, RELAXED), load64(&result.known, RELAXED), load64(&result.left_out, RELAXED),
                load64(&result.ended, RELAXED))

    def wake(self):
        self.request(0)

    def join(self):
        if self.started and not self.joined and pthread_tryjoin_np(self.thread, NULL) == 0:
            self.joined = True
            self.fastpath.owned_by_thread = False
        return self.joined

    @property
    def ended(self):
        return load32(&self.worker.phase, ACQUIRE) >= STOPPED_PHASE

    @property
    def error(self):
        return self.worker.error if self.ended else 0

    def counters(self):
        return {
            "received": load64(&self.worker.traffic.received, RELAXED),
            "verdict-accept": load64(&self.worker.traffic.verdict_accept, RELAXED),
            "verdict-drop": load64(&self.worker.traffic.verdict_drop, RELAXED),
            "verdict-reset": load64(&self.worker.traffic.verdict_reset, RELAXED),
            "overruns": load64(&self.worker.traffic.overruns, RELAXED),
            "interrupted": load64(&self.worker.traffic.interrupted, RELAXED),
            "unknown": load64(&self.worker.traffic.unknown, RELAXED),
            "errors": load64(&self.worker.traffic.errors, RELAXED),
            "broken": load64(&self.worker.traffic.broken, RELAXED),
            "unsent": load64(&self.worker.traffic.unsent, RELAXED),
            "queue-full": load64(&self.worker.traffic.queue_full, RELAXED),
            "came-again": load64(&self.worker.traffic.came_again, RELAXED),
            "not-rejected": load64(&self.worker.traffic.not_rejected, RELAXED),
        }
