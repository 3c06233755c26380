"""Nodes that the application does not read from, and replicas near to it first."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real.clusters import assert_env, ok, rows, status
from tests.real.hosts import Operator


@pytest.fixture
def near_and_far(cluster: Operator) -> Operator:
    """db1 and db3 in eu, db2 in us."""
    cluster.write_inventory(extra={"nodes": regions()})
    return cluster


def regions(**db3: Any) -> dict[str, Any]:
    return {"db1": {"region": "eu"}, "db2": {"region": "us"}, "db3": {"region": "eu", **db3}}


def test_replicas_of_the_primary_s_region_come_first(near_and_far: Operator) -> None:
    assert {finding["code"] for finding in status(near_and_far)["findings"]} == {"env-drift"}
    ok(near_and_far.replctl("env", "--write", "--yes"))
    assert_env(near_and_far, "db1", ["db3", "db2"])
    assert status(near_and_far)["health"] == "healthy"
    ok(near_and_far.replctl("promote", "db2", "--yes"))
    assert_env(near_and_far, "db2", ["db1", "db3"])
    ok(near_and_far.replctl("promote", "db1", "--yes"))
    assert_env(near_and_far, "db1", ["db3", "db2"])


def test_the_file_for_another_region(near_and_far: Operator) -> None:
    hosts = {name: near_and_far.lan[name].address for name in ("db2", "db3")}

    def order(*args: str) -> list[str]:
        printed = ok(near_and_far.replctl("env", *args)).out
        (line,) = [line for line in printed.splitlines() if line.startswith("DB_READ_REPLICA_URLS=")]
        return sorted(hosts, key=lambda name: line.index(hosts[name]))

    assert order() == ["db3", "db2"]
    assert order("--for-region", "us") == ["db2", "db3"]
    elsewhere = near_and_far.replctl("env", "--for-region", "mars")
    assert elsewhere.code == 2
    assert "no node is in mars" in elsewhere.err
    assert "eu, us" in elsewhere.err
    both = near_and_far.replctl("env", "--for-region", "us", "--check")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_a_node_out_of_rotation(cluster: Operator) -> None:
    """It follows through every change, may be promoted, and is never listed as a replica."""
    cluster.write_inventory(extra={"nodes": {"db3": {"in_rotation": False}}})
    (finding,) = status(cluster)["findings"]
    assert (finding["code"], finding["node"]) == ("env-drift", "db3")
    ok(cluster.replctl("env", "--write", "--yes"))
    assert_env(cluster, "db1", ["db2"])
    seen = status(cluster)
    assert (seen["health"], seen["findings"]) == ("healthy", [])
    ok(cluster.replctl("promote", "db2", "--yes"))
    assert_env(cluster, "db2", ["db1"])
    assert rows(cluster)["db3"]["state"] == "streaming"
    ok(cluster.replctl("promote", "db3", "--yes"))
    assert_env(cluster, "db3", ["db1", "db2"])
    again = ok(cluster.replctl("add-replica", "--all", "--yes", "-o", "json")).document
    assert again["outcome"] == "unchanged"
