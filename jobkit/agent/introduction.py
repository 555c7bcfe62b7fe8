"""How a launcher and a host's relay know each other: each shows that it has the secret of the launch.

    relay                                     launcher
                                          ←   nonce
    nonce, code, who it is                →
                                          ←   code
    frames of `jobkit.agent.wire`        ↔

Each message is a line. A code is of both nonces, so that what was heard once is worth nothing again.
"""

from __future__ import annotations

import json
import os
from typing import Any

from jobkit.env.tcp import wire

MOST = 1 << 16  # bytes of any line
_RELAY, _LAUNCHER = b"relay", b"launcher"


def nonce() -> str:
    """Return a number that nobody has said before."""
    return os.urandom(16).hex()


def hello(secret: str, theirs: str, who: dict[str, Any]) -> tuple[str, str]:
    """Return a relay's line, and what the launcher has to answer.

    Args:
        secret: Of the launch, in hexadecimal.
        theirs: The launcher's nonce.
        who: What the relay says of itself.
    """
    mine, text = nonce(), json.dumps(who)
    line = f"{mine} {_code(secret, _RELAY, theirs + mine, text)} {text}\n"
    return line, _code(secret, _LAUNCHER, theirs + mine, "")


def heard(secret: str, mine: str, line: str) -> tuple[dict[str, Any], str] | None:
    """Return what a relay says of itself, and the answer; None for a stranger."""
    theirs, _, rest = line.strip().partition(" ")
    code, _, text = rest.partition(" ")
    expected = _code(secret, _RELAY, mine + theirs, text)
    if not wire.same(expected.encode(), code.encode(errors="replace")):
        return None
    return json.loads(text), _code(secret, _LAUNCHER, mine + theirs, "")


def _code(secret: str, role: bytes, nonces: str, text: str) -> str:
    data = [part.encode(errors="surrogatepass") for part in (nonces, text)]
    return wire.code(bytes.fromhex(secret), role, *data).hex()
