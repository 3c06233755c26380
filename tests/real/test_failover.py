"""The primary is dead: what is said before, what is lost, and how the old one comes back."""

from __future__ import annotations

from tests.real.clusters import assert_cluster, assert_env, ok, status
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import start


def failover(operator: Operator, node: str, *flags: str, code: int = 0) -> dict[str, object]:
    run = operator.replctl("promote", node, "--failover", *flags, "--yes", "-o", "json")
    assert run.code == code, run.out + run.err
    return run.document


def codes(document: dict[str, object]) -> set[str]:
    return {refusal["code"] for refusal in document["refusals"]}


def test_of_a_host_that_lost_its_power(cluster: Operator) -> None:
    """Refused until its fencing is stated; then the next command that meets it brings it back."""
    host = cluster.lan["db1"]
    with Writer(cluster) as writer:
        host.power_cut()
        before = cluster.env_file.read_text()
        refused = failover(cluster, "db2", code=3)
        assert codes(refused) == {"old-primary-unreachable"}
        assert "init-primary db1" in refused["refusals"][0]["message"]
        assert cluster.env_file.read_text() == before
        done = failover(cluster, "db2", "--old-primary-fenced", code=6)
        assert "replctl rejoin db1" in done["next"]
        writer.wait_for_rows(20)
        seen = status(cluster)
        assert (seen["primary"], seen["timeline"]) == ("db2", 2)
        assert {"fence-debt", "unreachable"} <= {finding["code"] for finding in seen["findings"]}
        assert_env(cluster, "db2", ["db3"])
        assert failover(cluster, "db2", "--old-primary-fenced")["outcome"] == "unchanged"
        host.power_on()
        start(host)
        ok(cluster.replctl("rejoin", "db1", "--yes", "--discard-diverged"))
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])
