"""Connections that are closed by the other side."""

import socket
import threading
from collections.abc import Iterator

import pytest

from serving.clients import Clients

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(3)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


def test_only_those_that_are_closed_are_told(pairs: list[Pair]) -> None:
    clients = Clients()
    gone = [threading.Event() for _ in pairs]
    with (
        clients.watching(pairs[0][0], gone[0].set),
        clients.watching(pairs[1][0], gone[1].set),
        clients.watching(pairs[2][0], gone[2].set),
    ):
        pairs[0][1].sendall(b"a request sent ahead")  # is no going away, and hides none
        pairs[0][1].close()
        pairs[2][1].shutdown(socket.SHUT_WR)
        assert gone[0].wait(60)
        assert gone[2].wait(60)
        assert not gone[1].is_set()
    pairs[1][1].close()
    with clients.watching(pairs[0][0], threading.Event().set):  # who was told once may be watched again
        pass
    assert not gone[1].is_set()


def test_one_that_fails_does_not_blind_it_to_the_others(pairs: list[Pair]) -> None:
    clients, gone = Clients(), threading.Event()

    def fail() -> None:
        raise RuntimeError("as if")

    with clients.watching(pairs[0][0], fail), clients.watching(pairs[1][0], gone.set):
        pairs[0][1].close()
        pairs[1][1].close()
        assert gone.wait(60)
