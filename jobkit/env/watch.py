"""Stay as the parent of a rank's program where no agent sees its end, as under srun, mpirun or torchrun.

The program is started first; whatever is slow to load is loaded while it runs. It inherits every open
descriptor (PMI_FD, the sockets that hold its ports) and the process group, so that a terminal, and a launcher
that signals the group, treat it as they would without jobkit between.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import time
from collections.abc import Mapping

from jobkit.env.files import remove
from jobkit.env.forwarding import ECHO_S, Forwarding
from jobkit.env.pump import Pump
from jobkit.env.start import CommandError, become
from jobkit.env.witness import ANSWER, ASK, FINISHED, end, ignore, testify
from jobkit.errors import Exit

TYPE_CHECKING = False

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.env.record import RankExit
    from jobkit.env.shim import Prepared

GRACE_S = 5.0  # between TERM and KILL for what a program leaves behind
_SETTLED_S = 2.0  # after which a program is taken to have started

# Either nobody can catch them, or they arise in a process and mean it alone; Python ignores the last two.
_NOT_FORWARDED = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "SYS", "PIPE", "XFSZ")
_FORWARDED = frozenset(signal.valid_signals()) - {getattr(signal, f"SIG{name}") for name in _NOT_FORWARDED}
_ENDS_A_PROGRAM = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_STOPS_A_PROGRAM = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_RING = "MLX_HOSTFILE"  # with it the program may use MLX's ring, whose failures are explained


def watch(program: str, command: tuple[str, ...], prepared: Prepared) -> int:
    """Run a program to its end and return its exit status; a signal that ends it ends this process too.

    Raises:
        CommandError: The system refuses it.
    """
    watcher = Watcher(prepared)
    watcher.start(program, command)
    watcher.run()
    watcher.finish()
    return watcher.leave()


class Watcher:
    """The state of one watched program."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._began = time.time()
        self._mask: set[int] = set()  # what was blocked when this process started
        self._forwarding = Forwarding()
        self._question: float | None = None  # when the witness was asked what it has seen
        self._pump: Pump | None = None
        self._refusal: CommandError | None = None
        self._child = self._witness = 0
        self._status: int | None = None  # of the program, as `waitpid` gives it
        self._asked: set[int] = set()  # signals from elsewhere that end a program

    # --- the start

    def start(self, program: str, command: tuple[str, ...]) -> None:
        """Start the program, then its witness."""
        self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD}))
        streams = _streams(self._prepared.environ)
        source, sink = os.pipe() if streams else (-1, -1)
        said, say = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            self._become(program, command, tuple((sink, stream) for stream in streams), say)
        os.close(say)
        if streams:
            os.close(sink)
            self._pump = Pump(source, 2)
        self._refusal = _refusal(said)
        if self._refusal is None:
            self._call_witness()
        self._listen()

    def _become(
        self, program: str, command: tuple[str, ...], outputs: tuple[tuple[int, int], ...], say: int
    ) -> None:
        for sink, stream in outputs:
            os.dup2(sink, stream)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            become(program, command, self._prepared.environ)
        except CommandError as error:
            os.write(say, f"{error.exit_status} {error}".encode())
        finally:
            os._exit(Exit.NOT_STARTED)

    def _call_witness(self) -> None:
        lease, self._lease = os.pipe()
        self._echo, echo = os.pipe()
        self._witness = os.fork()
        if self._witness == 0:
            identity, rank = self._prepared.identity, self._prepared.placement.rank
            try:
                if not testify(lease, echo, _FORWARDED, self._mask, self._prepared.presence):
                    end(identity.job, identity.run_dir, rank, self._child)
                    self._take_over()
            finally:
                os._exit(0)
        os.close(lease)
        os.close(echo)

    def _take_over(self) -> None:
        """Leave, in the witness, what a watcher leaves that was not killed."""
        self._status, self._pump = int(signal.SIGKILL), None
        self._report()
        remove(self._prepared.files, self._prepared.identity.run_dir)

    def _listen(self) -> None:
        self._wake, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (*_FORWARDED, signal.SIGCHLD):
            signal.signal(number, ignore)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask - {signal.SIGCHLD})

    # --- while it runs

    def run(self) -> None:
        """Pass on signals and output until the program has ended."""
        from jobkit.env.processes import become_subreaper

        become_subreaper()
        self._reap()
        self._while_running(time.monotonic() + _SETTLED_S)
        assert self._status is not None
        # A signal to all may have reached, and ended, the program first, or the witness before this process.
        number = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else 0
        until = time.monotonic() + (ECHO_S if number in _ENDS_A_PROGRAM else 0.0)
        self._turn(0.0)
        while number not in self._asked and (left_s := until - time.monotonic()) > 0:
            self._turn(left_s)

    def _while_running(self, settled: float) -> None:
        while self._status is None and (left := settled - time.monotonic()) > 0:
            self._turn(left)
        if self._status is None:
            # What the end needs is loaded while nobody waits for it, and not while the program starts.
            from jobkit.env import record  # noqa: F401
        while self._status is None:
            self._turn(None)

    def _turn(self, most_s: float | None) -> None:
        now = time.monotonic()
        times = [most_s, None if self._question is not None else self._forwarding.patience(now)]
        ready = self._poll(min((seconds for seconds in times if seconds is not None), default=None))
        if self._wake in ready:
            self._signalled(os.read(self._wake, 4096))
        if self._witness and self._echo in ready:
            self._witnessed(os.read(self._echo, 4096))
        if self._pump and self._pump.wanted()[0] in ready:
            self._pump.turn()
        self._forward()

    def _poll(self, patience_s: float | None) -> list[int]:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._witness:
            poll.register(self._echo, select.POLLIN)
        if self._pump and self._pump.wanted()[0] >= 0:
            poll.register(*self._pump.wanted())
        return [fd for fd, _ in poll.poll(None if patience_s is None else patience_s * 1000)]

    def _signalled(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGCHLD:
                self._reap()
            else:
                self._asked |= {number} & set(_ENDS_A_PROGRAM)
                self._forwarding.came(number, time.monotonic())

    def _witnessed(self, numbers: bytes) -> None:
        if not numbers:
            self._forget_witness()
        for number in numbers:
            if number != ANSWER:
                self._forwarding.seen(number, time.monotonic())
            elif self._question is not None:
                self._pass_on(self._question)
                self._question = None

    def _forward(self) -> None:
        """Ask the witness about a signal that it may have seen; without one, pass it on."""
        now = time.monotonic()
        if self._question is not None or self._forwarding.patience(now) != 0.0:
            return
        if self._witness:
            self._question = now
            os.write(self._lease, ASK)
        else:
            self._pass_on(now)

    def _pass_on(self, until: float) -> None:
        for number in self._forwarding.due(until):
            if self._status is None:
                os.kill(self._child, number)

    def _reap(self) -> None:
        """Collect every child that has ended; the orphans of the program come to this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._child_changed(status)
            elif pid == self._witness and not os.WIFSTOPPED(status):
                self._forget_witness()

    def _child_changed(self, status: int) -> None:
        if not os.WIFSTOPPED(status):
            self._status = status
        elif os.WSTOPSIG(status) in _STOPS_A_PROGRAM and _has_terminal():
            # The shell that started this process is to see that its job has stopped.
            os.kill(os.getpid(), signal.SIGSTOP)

    def _forget_witness(self) -> None:
        if self._witness:
            self._witness, self._question = 0, None
            os.close(self._echo)
            os.close(self._lease)

    # --- the end

    def finish(self) -> None:
        """Write the record, end what the program has left behind, and remove the shim's files.

        Raises:
            CommandError: The program was not started.
        """
        if self._pump:
            self._pump.drain()
        self._report()
        self._end_the_rest()
        if self._pump:
            self._pump.drain()
        remove(self._prepared.files, self._prepared.identity.run_dir)
        if self._refusal is not None:
            raise self._refusal

    def _report(self) -> None:
        """Leave the record where others look for it, and what it explains where the user looks."""
        identity, rank = self._prepared.identity, self._prepared.placement.rank
        hint = self._hint()
        if hint:
            _say(hint)
        if not identity.run_dir:
            _say(f"no run folder can be written; the exit of rank {rank} is not recorded")
            return
        from pathlib import Path

        from jobkit.env.record import write_exit

        folder = Path(identity.run_dir, f"attempt-{identity.attempt}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_exit(folder, self._exit(folder, hint))
        except OSError as error:
            _say(f"{folder}: the record of rank {rank} was not written ({error.strerror})")

    def _hint(self) -> str:
        if not self._status or not self._pump:
            return ""
        from jobkit.env.mlx.failures import hint

        return hint(bytes(self._pump.tail))

    def _exit(self, folder: Path, hint: str) -> RankExit:
        from jobkit.env.record import RankExit, now, read_victim, rfc3339, signal_name

        status, number = self._outcome()
        rank = self._prepared.placement.rank
        reason = "signal" if number else "exit"
        return RankExit(
            rank=rank,
            host=os.uname().nodename,
            status=status,
            signal=signal_name(number) if number else None,
            ended_by_jobkit=bool(self._asked & {signal.SIGTERM, signal.SIGINT, number}),
            victim_of=read_victim(folder, rank) if status else None,
            reason=reason if self._refusal is None else "not started",
            started=rfc3339(self._began),
            ended=now(),
            order=int(time.time() * 1000),
            hint=hint,
        )

    def _outcome(self) -> tuple[int, int]:
        """Return the exit status and the signal, 0 without one."""
        if self._refusal is not None:
            return self._refusal.exit_status, 0
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        return (Exit.SIGNAL - code, -code) if code < 0 else (code, 0)

    def _end_the_rest(self) -> None:
        """End the program's descendants, also those that became orphans before they could come here."""
        from jobkit.env.processes import POLL_S, Ending, marks, members

        self._dismiss_witness()
        identity, rank = self._prepared.identity, self._prepared.placement.rank
        marked = marks(identity.job, identity.run_dir, rank)
        if not members(marked, ()):
            return
        ending = Ending(lambda: members(marked, ()), GRACE_S)
        while not ending.step():
            self._turn(POLL_S)
            self._reap()

    def _dismiss_witness(self) -> None:
        if self._witness:
            os.write(self._lease, FINISHED)
            os.waitpid(self._witness, 0)
            self._forget_witness()

    def leave(self) -> int:
        """Return the program's exit status, or end by the signal that it ended by."""
        status, number = self._outcome()
        if number:
            _end_by(number)
        return status


def _streams(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return which of the program's outputs go through this process, so that a failure can be explained.

    Standard error, unless it is a terminal; standard output only where it is the same file, so that what the
    program writes to one and then the other stays in that order.
    """
    if _RING not in environ:
        return ()
    try:
        if stat.S_ISCHR(os.fstat(2).st_mode):  # a terminal, or /dev/null
            return ()
        return (1, 2) if os.path.sameopenfile(1, 2) else (2,)
    except OSError:  # one of them is closed
        return ()


def _refusal(said: int) -> CommandError | None:
    """Wait until the program runs, and return why it does not."""
    text = b""
    while part := os.read(said, 4096):
        text += part
    os.close(said)
    if not text:
        return None
    status, _, message = text.decode(errors="replace").partition(" ")
    return CommandError(message, int(status))


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def _say(message: str) -> None:
    try:
        os.write(2, f"jobkit: {message}\n".encode())
    except OSError:
        return


def _end_by(number: int) -> None:
    """End this process by a signal, so that a launcher says of it what it would say of the program."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program has left its own
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)
