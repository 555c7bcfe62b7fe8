"""The declarations of the verbs API against the public header, where that is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Beyond these a struct of ours is filled up, or ends: what follows is never touched.
ENDS = {"rest", "before_poll_cq", "before_post_send", "after_post_recv", "imm_data"}
# Ours are the first members of what the header has under these names.
HEADS = {"cq_head": "cq", "qp_head": "qp"}
AT_LEAST = {"device_attr", "port_attr"}  # the library writes them whole
EXACT = {"send_wr", "recv_wr", "wc", "sge", "qp_cap", "qp_init_attr", "qp_attr", "ah_attr", "global_route"}
EXACT |= {"gid_entry", "mr", "async_event", "comp_channel", "context_ops"}
VALUES = {
    "JK_QPT_": "IBV_QPT_",
    "JK_QPS_": "IBV_QPS_",
    "JK_PORT_": "IBV_PORT_",
    "JK_QP_": "IBV_QP_",
    "JK_EVENT_": "IBV_EVENT_",
    "JK_ACCESS_": "IBV_ACCESS_",
    "JK_GID_TYPE_": "IBV_GID_TYPE_",
    "JK_SEND_": "IBV_SEND_",
    "JK_WR_": "IBV_WR_",
    "JK_WC_OP_": "IBV_WC_",
    "JK_WC_": "IBV_WC_",
}


def checks(header: str) -> list[str]:
    """Return an assertion in C for each member, size and value that the header declares."""
    found = []
    for name, body in re.findall(r"struct jk_ibv_(\w+) \{(.*?)\n\};", header, re.DOTALL):
        theirs = HEADS.get(name, name)
        members = re.sub(r"union \{.*?\} element", "int element", body, flags=re.DOTALL)
        members = re.sub(r"\(\*(\w+)\)\(.*?\)", r"\1", members, flags=re.DOTALL)
        for member in re.findall(r"(\w+)(?:\[\d+\])?;", members):
            if member not in ENDS:
                ours = f"offsetof(struct jk_ibv_{name}, {member})"
                found.append(f"{ours} == offsetof(struct ibv_{theirs}, {member})")
        if name in EXACT:
            found.append(f"sizeof(struct jk_ibv_{name}) == sizeof(struct ibv_{name})")
        if name in AT_LEAST:
            found.append(f"sizeof(struct jk_ibv_{name}) >= sizeof(struct ibv_{name})")
    found.append("_Alignof(union jk_ibv_gid) == _Alignof(union ibv_gid)")
    for name in re.findall(r"\b(JK_\w+) =", header):
        prefix = next(prefix for prefix in VALUES if name.startswith(prefix))
        found.append(f"(int){name} == (int){VALUES[prefix]}{name.removeprefix(prefix)}")
    return found


def test_our_declarations_are_those_of_the_public_header(repository: Path, tmp_path: Path) -> None:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = repository / "jobkit" / "native" / "src"
    public = tmp_path / "public.c"
    public.write_text("#include <infiniband/verbs.h>\n")
    if subprocess.run([compiler, "-fsyntax-only", str(public)], capture_output=True).returncode != 0:
        pytest.skip("no <infiniband/verbs.h> here (libibverbs-dev)")
    lines = checks((folder / "verbs_abi.h").read_text())
    assert len(lines) > 150
    source = tmp_path / "compare.c"
    source.write_text(
        '#include <infiniband/verbs.h>\n#include <stddef.h>\n#include "verbs_abi.h"\n'
        + "\n".join(f'_Static_assert({line}, "");' for line in lines)
    )
    command = [compiler, "-fsyntax-only", f"-I{folder}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
