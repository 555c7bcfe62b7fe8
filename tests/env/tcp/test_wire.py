from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.env.tcp import wire

KEY = b"k" * 32


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_messages_come_out_whole_however_they_arrive(payloads: list[bytes], step: int) -> None:
    stream = b"".join(wire.frame(p, wire.code(KEY, wire.RANK, b"n", p)) for p in payloads)
    inbox, taken = wire.Inbox(wire.MOST), []
    for start in range(0, len(stream), step):
        inbox.put(stream[start : start + step])
        while (message := inbox.take()) is not None:
            taken.append(message)
    assert [payload for _, payload in taken] == payloads
    assert all(wire.same(code, wire.code(KEY, wire.RANK, b"n", payload)) for code, payload in taken)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_garbage(data: bytes) -> None:
    inbox = wire.Inbox(64)
    inbox.put(data)
    try:
        while (message := inbox.take()) is not None:
            wire.decode(message[1])
    except wire.Garbage:
        return


@pytest.mark.parametrize(
    ("token", "role", "nonces", "payload"),
    [
        (b"x" * 32, b"rank", b"n", b"p"),
        (KEY, b"table", b"n", b"p"),
        (KEY, b"rank", b"m", b"p"),
        (KEY, b"rank", b"n", b"q"),
    ],
)
def test_a_code_is_for_one_message_of_one_conversation(
    token: bytes, role: bytes, nonces: bytes, payload: bytes
) -> None:
    assert not wire.same(wire.code(KEY, b"rank", b"n", b"p"), wire.code(token, role, nonces, payload))


def test_a_secret_is_of_one_attempt_of_one_job() -> None:
    secret = wire.secret(KEY, "j", 1, "a")
    assert wire.secret(KEY, "j", 1, "a") == secret
    others = [(KEY, "j", 1, "b"), (KEY, "j", 2, "a"), (KEY, "k", 1, "a"), (b"x" * 32, "j", 1, "a")]
    assert len({secret, *(wire.secret(*other) for other in others)}) == 5


def test_a_message_that_says_it_is_too_long_is_garbage() -> None:
    inbox = wire.Inbox(10)
    inbox.put((11).to_bytes(4, "big"))
    with pytest.raises(wire.Garbage, match="a message of 11 bytes"):
        inbox.take()
