"""What native threads need of POSIX and Linux: their start and end, their name, and what they are worth."""
from posix.signal cimport sigset_t

cdef extern from "<signal.h>" nogil:
    const int SIG_SETMASK
    int pthread_sigmask(int how, const sigset_t *new, sigset_t *old)

cdef extern from "<pthread.h>" nogil:
    ctypedef void *(*thread_body)(void *) noexcept
    int pthread_create(unsigned long *thread, void *attributes, thread_body body, void *argument)
    int pthread_join(unsigned long thread, void **result)
    int pthread_tryjoin_np(unsigned long thread, void **result)

cdef extern from "<unistd.h>" nogil:
    int gettid()

cdef extern from "<sys/prctl.h>" nogil:
    const int PR_SET_NAME
    int prctl(int option, const char *name)

cdef extern from "<sys/resource.h>" nogil:
    const int PRIO_PROCESS
    int setpriority(int which, unsigned int who, int niceness)     # on Linux of one thread; 0: the caller
