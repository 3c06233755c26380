"""How a base backup is sent: what pg_basebackup would take is told to it, the rest is refused before anything runs."""

from __future__ import annotations

import pytest

from replctl.model.errors import ExitCode, UsageError
from replctl.model.transfer import UNHINDERED, Transfer
from replctl.postgres import scripts
from replctl.postgres.transfer import method, transfer
from tests.unit.inventories import SMALL, parse


@pytest.mark.parametrize("rate", ["32", "32k", "0.5M", "50M", "1024M", "1048576"])
def test_rates(rate: str) -> None:
    assert transfer(rate, None) == Transfer(max_rate=rate)


@pytest.mark.parametrize("rate", ["31", "0", "-50M", "1025M", "50MB", "5 M", "50G", "M", "nan", "1e5", "٥٠M", "50M\n"])
def test_no_rates(rate: str) -> None:
    with pytest.raises(UsageError, match="--max-rate") as caught:
        transfer(rate, None)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("said", ["server-gzip", "server-gzip:9", "server-lz4:12", "server-zstd:22", "server-zstd"])
def test_compressions(said: str) -> None:
    assert transfer(None, said) == Transfer(compress=said)


@pytest.mark.parametrize(
    "said",
    ["gzip", "lz4", "client-lz4", "server-gzip:10", "server-lz4:0", "server-zstd:", "server-brotli", "none"],
)
def test_no_compressions(said: str) -> None:
    with pytest.raises(UsageError, match="--compress"):
        transfer(None, said)


def test_the_method_alone() -> None:
    assert method("server-zstd:3") == "zstd"
    assert method("server-lz4") == "lz4"


def test_what_pg_basebackup_is_told() -> None:
    assert sent(UNHINDERED) == sent(Transfer())
    assert [word for word in sent(Transfer("50M", "server-lz4")) if word not in sent(UNHINDERED)] == [
        "--max-rate=50M",
        "--compress=server-lz4",
    ]


def sent(how: Transfer) -> tuple[str, ...]:
    inventory = parse(SMALL)
    source, node = inventory.nodes.values()
    return scripts.base_backup(inventory, node, source, bin_dir="/bin", directory="/new", slot="x", transfer=how)
