"""A Slurm that accounts: slurmdbd and MariaDB on its login host, accounts and memory that count."""

from __future__ import annotations

import shutil

from clusters import slurm
from clusters.slurm import LOGIN, Slurm

NEEDED = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db", "mariadb")
ACCOUNT = "physics"
# Seconds after which slurmctld forgets a job that has ended, so that sacct alone knows it.
FORGOTTEN_S = 5

_SETTINGS = f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={LOGIN}
AccountingStorageEnforce=associations,limits
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
DefMemPerNode=1000
MinJobAge={FORGOTTEN_S}"""
_DATABASE = """AuthType=auth/munge
DbdHost={login}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageUser=root
StorageLoc=slurm
"""
# Nobody but this host's processes reaches its socket, and nothing in it outlives the test.
_MARIADB = (
    "--no-defaults --user=root --skip-networking --skip-log-bin --innodb-doublewrite=0 "
    "--innodb-flush-log-at-trx-commit=0 --innodb-log-file-size=4M --innodb-buffer-pool-size=16M"
)


def why_not() -> str:
    """Return why it cannot be started here, "" where it can."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    needed = (
        f"accounting needs {', '.join(missing)} (Debian: slurmdbd, mariadb-server-core, mariadb-client-core)"
    )
    return slurm.why_not() or (needed if missing else "")


class Accounted(Slurm):
    """A running cluster whose one user, root, has the account `physics`."""

    accounting = _SETTINGS
    consumable = "CR_CPU_Memory"

    def _before_the_controller(self) -> None:
        self._start_database()
        conf = self.folder / "slurmdbd.conf"
        conf.touch(0o600)
        conf.write_text(_DATABASE.format(login=LOGIN, folder=self.folder))
        self._daemon(LOGIN, "slurmdbd", "-D")
        self.until("", "sh", "-c", "sacctmgr --immediate --noheader show cluster")
        for words in (
            ("cluster", "lab"),
            ("account", ACCOUNT),
            ("user", "root", f"account={ACCOUNT}"),
        ):
            self.run("sacctmgr", "--immediate", "add", *words)

    def _start_database(self) -> None:
        """Start MariaDB with its socket where its clients look for it, as each host has a /run of its own."""
        data = self.folder / "mariadb"
        install = (
            "mariadb-install-db",
            "--no-defaults",
            "--user=root",
            "--skip-test-db",
            f"--datadir={data}",
        )
        self.run(*install, "--auth-root-authentication-method=normal", "--innodb-flush-log-at-trx-commit=0")
        self.run("install", "--directory", "/run/mysqld")
        files = (f"--datadir={data}", "--socket=/run/mysqld/mysqld.sock", "--pid-file=/run/mysqld/pid")
        self._daemon(LOGIN, "mariadbd", *_MARIADB.split(), *files)
        self.until("1\n", "mariadb", "--no-defaults", "--skip-column-names", "--execute=select 1")
        self.run("mariadb", "--no-defaults", "--execute=create database slurm")
