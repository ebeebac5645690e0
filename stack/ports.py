"""Ports on loopback: bind one to keep, or find one that is free."""

import socket

from topclip.errors import ConfigError

BACKLOG = 1024


def listen(host: str, port: int, *, option: str) -> socket.socket:
    """Bind and listen; port 0 takes a free one. The socket is handed to the web server, so that no other program can
    get in between.

    Raises: ConfigError naming the option if the port is taken or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as err:
        sock.close()
        raise _taken(port, option, err) from err
    return sock


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now; the program that wants it may still lose the race."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the port can be bound now."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
        return True


def require_free(port: int, *, option: str) -> None:
    """Raises: ConfigError naming the option if the port is taken."""
    if not is_free(port):
        raise _taken(port, option, None)


def _taken(port: int, option: str, err: OSError | None) -> ConfigError:
    reason = err.strerror if err and err.strerror else "address already in use"
    hint = f"stop what listens there, name another port with {option}, or let {option} 0 pick a free one"
    return ConfigError(f"cannot listen on port {port}: {reason}", {"field": option, "hint": hint})
