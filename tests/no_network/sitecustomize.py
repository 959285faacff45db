"""Put this folder on PYTHONPATH: a process reaches nothing but its own machine, and our warnings are errors.

All but the one that says that digits stand in for MNIST.
"""

import socket
import warnings

_connect = socket.socket.connect


def _local_only(self, address):
    host = address[0] if isinstance(address, tuple) else "localhost"
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"the network is blocked in tests, but something asked for {host}")
    return _connect(self, address)


def _no_lookup(host, *args, **kwargs):
    if host not in ("127.0.0.1", "::1", "localhost", None, ""):
        raise OSError(f"the network is blocked in tests, but something looked up {host}")
    return _getaddrinfo(host, *args, **kwargs)


_getaddrinfo = socket.getaddrinfo
warnings.filterwarnings("error", module="diffusion_lib")
warnings.filterwarnings("default", "MNIST could not be read")  # so it is on a machine without MNIST
socket.socket.connect = _local_only
socket.getaddrinfo = _no_lookup
