"""The clients that wait for an answer: are they still there?"""

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)


class Clients:
    """
    Notices at once when the other side closes a connection. Thread-safe; one thread watches over all connections.

    A client that closes its half of the connection after the request counts as gone, as it does with nginx: whether it
    still reads can't be seen. Linux only: elsewhere nobody is ever found gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone: dict[int, Callable[[], object]] = {}  # what to do, by file descriptor
        self._poll: select.epoll | None = None

    @contextlib.contextmanager
    def watching(self, connection: socket.socket | None, gone: Callable[[], object]) -> Iterator[None]:
        """
        Call ``gone``, which must not block, when the other side closes ``connection`` meanwhile.

        :param connection: ``None`` where the server does not tell; then nothing is watched
        """
        if connection is None or not hasattr(select, "epoll"):
            yield
            return
        number = connection.fileno()
        with self._lock:
            poll = self._poll = self._poll or self._start()
            self._gone[number] = gone
            poll.register(number, select.EPOLLRDHUP)  # and, unasked, EPOLLHUP and EPOLLERR
        try:
            yield
        finally:
            with self._lock:
                if self._gone.pop(number, None):
                    poll.unregister(number)

    def _start(self) -> select.epoll:
        poll = select.epoll()
        threading.Thread(target=self._watch, args=[poll], name="clients", daemon=True).start()
        return poll

    def _watch(self, poll: select.epoll) -> None:
        while True:
            for number, _ in poll.poll():
                with self._lock:
                    gone = self._gone.pop(number, None)
                    if gone is not None:
                        poll.unregister(number)
                if gone is not None:
                    try:
                        gone()
                    except Exception:  # the others are still to be watched
                        logger.exception("A call whose client is gone could not be cancelled.")
