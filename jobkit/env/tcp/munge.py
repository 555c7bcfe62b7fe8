"""MUNGE: how a cluster's hosts vouch for who a process belongs to (https://dun.github.io/munge/).

A credential that only this user can open carries the coordinator's secret to each rank, and tells it whose
the coordinator is. Imported where a job of several hosts meets: ctypes takes as long as Python's start.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from jobkit.errors import LaunchError, complaint

# munge.h
_OPT_SOCKET, _OPT_UID_RESTRICTION = 8, 9
_E_SOCKET = 6


class Refused(Exception):
    """The credential is not for this user, or not from them."""


class Munge:
    """The munged behind one socket.

    Raises:
        LaunchError: Its library is not installed.
    """

    def __init__(self, socket: str) -> None:
        try:
            self._library = ctypes.CDLL("libmunge.so.2")
        except OSError as error:
            hint = "install libmunge2, or set JOBKIT_RUN_DIR to a folder that all hosts share"
            raise LaunchError(
                complaint("munge", f"its library cannot be loaded ({error})", hint=hint)
            ) from error
        self._socket = socket.encode()
        self._library.munge_ctx_create.restype = ctypes.c_void_p
        self._library.munge_strerror.restype = ctypes.c_char_p
        self._free = ctypes.CDLL(None).free

    def encode(self, secret: bytes) -> str:
        """Return a credential that carries the secret to processes of this user.

        Raises:
            LaunchError: munged does not answer.
        """
        text = ctypes.c_void_p()
        with self._context() as context:
            self._library.munge_ctx_set(context, _OPT_UID_RESTRICTION, ctypes.c_uint(os.geteuid()))
            failed = self._library.munge_encode(ctypes.byref(text), context, secret, len(secret))
        if failed:
            raise LaunchError(self._broken(failed))
        credential = ctypes.string_at(text.value or 0).decode()
        self._free(text)
        return credential

    def decode(self, credential: str) -> bytes:
        """Return the secret of a credential that a process of this user made.

        Raises:
            Refused: It is another user's, not for this one, used, expired or forged.
            LaunchError: munged does not answer.
        """
        payload, n_bytes, uid, gid = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_uint(), ctypes.c_uint()
        out = [ctypes.byref(value) for value in (payload, n_bytes, uid, gid)]
        with self._context() as context:
            failed = self._library.munge_decode(credential.encode(), context, *out)
        secret = ctypes.string_at(payload.value, n_bytes.value) if payload.value else b""
        self._free(payload)
        if failed == _E_SOCKET:
            raise LaunchError(self._broken(failed))
        if failed:
            raise Refused(self._why(failed))
        if uid.value != os.geteuid():
            raise Refused(f"it is of user {uid.value}")
        return secret

    @contextmanager
    def _context(self) -> Iterator[ctypes.c_void_p]:
        context = ctypes.c_void_p(self._library.munge_ctx_create())
        try:
            self._library.munge_ctx_set(context, _OPT_SOCKET, ctypes.c_char_p(self._socket))
            yield context
        finally:
            self._library.munge_ctx_destroy(context)

    def _broken(self, failed: int) -> str:
        where = f"munge {self._socket.decode()}"
        return complaint(where, self._why(failed), hint="is munged running on this host? its log says more")

    def _why(self, failed: int) -> str:
        said: bytes = self._library.munge_strerror(failed)
        return said.decode()
