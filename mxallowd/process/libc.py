"""Calls of the C library that Python has no function for."""
import ctypes
import os

_LIBRARY = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> int:
    """The result of a function of the C library. Raises OSError where it is negative."""
    result = int(getattr(_LIBRARY, function)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, argument: int, third: int = 0) -> int:
    """prctl(2), with the arguments that are not given as zeros. Raises OSError."""
    long = ctypes.c_ulong
    return call("prctl", option, long(argument), long(third), long(0), long(0))
