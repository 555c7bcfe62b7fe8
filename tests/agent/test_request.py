from __future__ import annotations

from collections.abc import Callable

from jobkit.agent.request import Request, decode, encode


def test_a_request_crosses_unchanged(make_request: Callable[..., Request]) -> None:
    request = make_request("a", "b c", ranks=3, ports=(1, 2), terminal=(80, 24), overlay={"A": "\udcff"})
    assert decode(encode(request)) == request


def test_the_environment_is_not_printed(make_request: Callable[..., Request]) -> None:
    request = make_request("true", environ={"KEY": "sesame"}, overlay={"TOKEN": "sesame"}, token="sesame")
    assert "sesame" not in repr(request)
