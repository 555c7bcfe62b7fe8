from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.env.placement import Facts
from jobkit.env.recording import record, recorded

FACTS = Facts(
    "a",
    ("a", "b"),
    ((9, "python3"), (8, "slurmstepd: [44.0]")),
    False,
    "0::/job_44\n",
    True,
    (("PBS_NODEFILE", "n1\nn2\n"),),
)
SECRETS = [
    ("API_KEY", "sesame"),
    ("wandb_token", "sesame"),
    ("MY_SECRET", "sesame"),
    ("PGPASSWORD", "sesame"),
    ("SSH_ASKPASS", "sesame"),
    ("AWS_CREDENTIALS", "sesame"),
    ("BASIC_AUTH", "sesame"),
    ("DATABASE_URL", "postgres://user:sesame@host/db"),
    ("DATABASE_URL", "postgres://user:open@sesame@host/db"),
    ("PIP_INDEX_URL", "https://sesame@host/simple"),
    ("OTEL_HEADERS", "a=b,api-key=sesame,c=d"),
    ("DSN", "host=h password=sesame user=u"),
    ("HEADER", "Authorization: Bearer sesame"),
    ("CONFIG", '{"user": "u", "api_token": "sesame"}'),
    ("HOOK", "https://host/hook?token=sesame&x=1"),
]


def text(environ: dict[str, str], facts: Facts = FACTS) -> str:
    return json.dumps(record(environ, facts))


def test_a_record_is_read_back_with_its_facts() -> None:
    environ = {
        "RANK": "0",
        "PATH": "/bin",
        "LIST": "a\nb",
        "PWD": "/home/u",
        "OMPI_URI": "1.0;tcp://10.0.0.1:4",
    }
    assert recorded(text(environ).encode()) == (environ, FACTS)
    assert recorded(text(environ, Facts()).encode()) == (environ, Facts())


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_what_may_be_secret_is_not_in_it(name: str, value: str) -> None:
    said = text({name: value})
    assert "sesame" not in said
    assert name in said


def test_what_is_no_secret_stays() -> None:
    assert json.loads(text({"HOOK": "https://host/hook?token=t&x=1"}))["environ"]["HOOK"].endswith("&x=1")
    assert json.loads(text({"PATH": "/opt/monkey:/bin"}))["environ"]["PATH"] == "/opt/monkey:/bin"


def test_a_long_value_is_read_at_once() -> None:
    for word in ("key", "://a", '"', "basic ", "a=b,"):
        assert recorded(text({"A": word * 40000}).encode())[0].keys() == {"A"}


@pytest.mark.parametrize(
    ("data", "environ"),
    [
        (b"A=1\nB=two=2\n", {"A": "1", "B": "two=2"}),
        (b"A=1\0B=two=2\0", {"A": "1", "B": "two=2"}),
        (b"IPS=10.0.0.4\n10.0.0.5\nB=\n", {"IPS": "10.0.0.4\n10.0.0.5", "B": ""}),
        (b"IPS=10.0.0.4\n10.0.0.5\0B=\0", {"IPS": "10.0.0.4\n10.0.0.5", "B": ""}),
        (
            b"BASH_FUNC_f%%=() {  x=1\n echo $x=2\n}\nB=1\n",
            {"BASH_FUNC_f%%": "() {  x=1\n echo $x=2\n}", "B": "1"},
        ),
        (b"A=\xff\n", {"A": os.fsdecode(b"\xff")}),
    ],
)
def test_the_output_of_env_is_read(data: bytes, environ: dict[str, str]) -> None:
    assert recorded(data) == (environ, Facts())


def test_a_value_that_is_not_utf_8_is_recorded() -> None:
    environ = {"A": os.fsdecode(b"\xff")}
    assert recorded(text(environ).encode())[0] == environ


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        b"{",
        b"{}",
        b'{"environ": {"A": 1}, "facts": {}}',
        b'{"environ": [], "facts": {}}',
        b'{"environ": {}, "facts": null}',
        b'{"environ": {}, "facts": {"ancestors": 7}}',
        b'{"environ": {}, "facts": {"ancestors": [["x", "y"]]}}',
        b'{"environ": {}, "facts": {"ancestors": [7]}}',
        b'{"environ": {}, "facts": {"host": 7}}',
        b'{"environ": {}, "facts": {"terminal": "yes"}}',
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        recorded(data)


@given(st.dictionaries(st.text("ABC_", min_size=1), st.text(st.characters(exclude_characters="\0"))))
def test_what_env_0_prints_is_read_back(environ: dict[str, str]) -> None:
    data = "".join(f"{name}={value}\0" for name, value in environ.items()) or "A=\0"
    assert recorded(data.encode(errors="surrogatepass"))[0].keys() == (environ or {"A": ""}).keys()
