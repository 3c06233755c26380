"""What the operator's machine keeps to itself, whatever the SSH configuration says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from replctl.model.errors import UnreachableError
from tests.contract.routes import OS_USER, closing, runner_over, ssh_host
from tests.contract.sshd import Sshd

LENIENT = """
StrictHostKeyChecking no
UpdateHostKeys yes
CheckHostIP no
VerifyHostKeyDNS yes
NoHostAuthenticationForLocalhost yes
"""


@pytest.fixture
def agent(tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "agent"
    process = subprocess.Popen(("ssh-agent", "-D", "-a", str(path)), stdout=subprocess.DEVNULL)
    while not path.exists():
        assert process.poll() is None
    key = tmp_path / "key"
    shutil.copy(sshd.key, key)
    key.chmod(0o600)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    subprocess.run(("ssh-add", "-q", str(key)), check=True)
    yield path
    process.terminate()
    process.wait(5)


def test_neither_agent_nor_environment_nor_display_is_handed_on(
    sshd: Sshd, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLCTL_REPLICATION_PASSWORD", "canary")
    monkeypatch.setenv("DISPLAY", ":0")
    config = tmp_path / "config"
    config.write_text(
        "ForwardAgent yes\nForwardX11 yes\nSendEnv REPLCTL_*\nSetEnv LC_CANARY=canary\nRemoteForward 1 h:1\n"
    )
    with closing(runner_over(ssh_host(sshd, OS_USER, config, identity_file=None))) as runner:
        environment = runner.run(["env"], timeout=10).text
        assert runner.run(["sh", "-c", "ssh-add -l 2>&1 || :"], timeout=10).text.startswith("Could not open")
    assert not [name for name in ("SSH_AUTH_SOCK", "DISPLAY", "canary") if name in environment]
    assert "SSH_CONNECTION" in environment


@pytest.mark.parametrize("known", ["", "changed"])
def test_no_setting_lets_a_stranger_in_and_no_key_is_added(sshd: Sshd, tmp_path: Path, known: str) -> None:
    config, file = tmp_path / "config", tmp_path / "known_hosts"
    if known:
        kind = (sshd.folder / "user_key.pub").read_text().split()[:2]
        file.write_text(" ".join((f"[127.0.0.1]:{sshd.port}", *kind)) + "\n")
    before = file.read_bytes() if known else None
    config.write_text(LENIENT + f"UserKnownHostsFile {file}\nGlobalKnownHostsFile /dev/null\n")
    for named in (file, None):  # by the inventory, and by the configuration alone
        with (
            closing(runner_over(ssh_host(sshd, OS_USER, config, known_hosts_file=named))) as runner,
            pytest.raises(UnreachableError) as caught,
        ):
            runner.run(["true"], timeout=10)
        assert caught.value.code == "host-key"
    assert (file.read_bytes() if file.exists() else None) == before
    assert list(tmp_path.glob("*known*")) == ([file] if known else [])
