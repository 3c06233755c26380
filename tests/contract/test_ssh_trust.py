"""Whom we trust, and who lets us in."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from replctl.model.errors import UnreachableError
from replctl.remote.known_hosts import HostKey
from replctl.remote.ssh import SshHost
from replctl.remote.ssh_config import SshConfig
from replctl.remote.waiting import NeverCancelled
from tests.contract.routes import OS_USER, closing, runner_over, ssh_host, ssh_node
from tests.contract.sshd import Sshd, make_key, run, serving

pytestmark = pytest.mark.usefixtures("no_agent")


@pytest.fixture
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def connects(host: SshHost) -> bool:
    with closing(runner_over(host)) as runner:
        return runner.run(["echo", "in"], timeout=5).text == "in\n"


def refusal(host: SshHost) -> UnreachableError:
    with pytest.raises(UnreachableError) as caught:
        host.connect(NeverCancelled())
    return caught.value


def hosts_file(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


class TestHostKeys:
    @pytest.mark.parametrize(
        "name",
        ["[127.0.0.1]:{port}", "other,[127.0.0.1]:{port}", "[127.0.0.*]:*", "127.0.0.1", "hashed", "*,!10.*"],
    )
    def test_known(self, sshd: Sshd, tmp_path: Path, name: str) -> None:
        name = hashed(f"[127.0.0.1]:{sshd.port}") if name == "hashed" else name.format(port=sshd.port)
        file = hosts_file(tmp_path / "known", "# a comment\n", "garbage\n", sshd.known_line(name))
        assert connects(ssh_host(sshd, OS_USER, known_hosts_file=file))

    @pytest.mark.fault("15b")
    @pytest.mark.parametrize("name", ["[127.0.0.1]:1", "[127.0.0.2]:{port}", "*,![127.0.0.1]:{port},!127.0.0.1"])
    def test_unknown(self, tmp_path: Path, sshd: Sshd, name: str) -> None:
        file = hosts_file(tmp_path / "known", sshd.known_line(name.format(port=sshd.port)))
        error = refusal(ssh_host(sshd, OS_USER, known_hosts_file=file))
        assert error.code == "host-key"
        assert "is not known" in error.message
        assert run("ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")).split()[1] in error.message
        assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in error.hint

    def test_the_hint_is_the_remedy(self, sshd: Sshd, tmp_path: Path) -> None:
        file = tmp_path / "known hosts"
        error = refusal(ssh_host(sshd, OS_USER, known_hosts_file=file))
        command = error.hint.rpartition(": `")[2].removesuffix("`")
        subprocess.run(command, shell=True, check=True)
        assert connects(ssh_host(sshd, OS_USER, known_hosts_file=file))

    @pytest.mark.fault("15a")
    def test_changed(self, sshd: Sshd, tmp_path: Path) -> None:
        kind, blob = make_key(tmp_path / "old").with_suffix(".pub").read_text().split()[:2]
        file = hosts_file(tmp_path / "known", f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
        error = refusal(ssh_host(sshd, OS_USER, known_hosts_file=file))
        assert (error.code, error.node) == ("host-key", "db1")
        assert "has changed" in error.message
        assert HostKey(kind, base64.b64decode(blob)).fingerprint in error.message
        assert "ssh-keygen -R" in error.hint

    @pytest.mark.parametrize("name", ["[127.0.0.1]:{port}", "127.0.0.1", "*"])
    def test_revoked_outweighs_known(self, sshd: Sshd, tmp_path: Path, name: str) -> None:
        revoked = "@revoked " + sshd.known_line(name.format(port=sshd.port))
        file = hosts_file(tmp_path / "known", sshd.known_line(), revoked)
        error = refusal(ssh_host(sshd, OS_USER, known_hosts_file=file))
        assert error.code == "host-key"
        assert "@revoked" in error.message

    def test_an_authority_is_no_host_key(self, sshd: Sshd, tmp_path: Path) -> None:
        file = hosts_file(tmp_path / "known", "@cert-authority " + sshd.known_line())
        assert "is not known" in refusal(ssh_host(sshd, OS_USER, known_hosts_file=file)).message

    @pytest.mark.fault("15b")
    def test_no_login_is_attempted_at_a_stranger(self, tmp_path: Path) -> None:
        with serving() as sshd:
            refusal(ssh_host(sshd, OS_USER, known_hosts_file=tmp_path / "none"))
            refusal(ssh_host(sshd, OS_USER, known_hosts_file=tmp_path / "none"))
            assert OS_USER not in sshd.log
            assert "ED25519" not in sshd.log

    def test_the_known_type_is_asked_for(self, tmp_path: Path) -> None:
        """The server also has an ed25519 key, which it would show by default."""
        with serving() as sshd:
            run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(sshd.folder / "second"))
            with (sshd.folder / "config").open("a") as config:
                config.write(f"HostKey {sshd.folder}/second\n")
            assert sshd.server is not None
            sshd.server.terminate()
            sshd.server.wait(5)
            _restart(sshd)
            kind, blob = (sshd.folder / "second.pub").read_text().split()[:2]
            file = hosts_file(tmp_path / "known", f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
            assert connects(ssh_host(sshd, OS_USER, known_hosts_file=file))


def _restart(sshd: Sshd) -> None:
    sshd.server = subprocess.Popen(
        ("/usr/sbin/sshd", "-D", "-f", str(sshd.folder / "config"), "-E", str(sshd.folder / "log")),
        env={"PATH": os.defpath},
    )
    sshd._await_port()


class TestLogin:
    @pytest.fixture
    def agent(self, tmp_path: Path, sshd: Sshd) -> Iterator[Path]:
        path = tmp_path / "agent"
        process = subprocess.Popen(("ssh-agent", "-D", "-a", str(path)), stdout=subprocess.DEVNULL)
        while not path.exists():
            assert process.poll() is None
        key = tmp_path / "agent_key"
        shutil.copy(sshd.key, key)
        key.chmod(0o600)
        subprocess.run(("ssh-add", "-q", str(key)), env={"SSH_AUTH_SOCK": str(path)}, check=True)
        yield path
        process.terminate()
        process.wait(5)

    @pytest.fixture
    def stranger(self, tmp_path: Path) -> Path:
        return make_key(tmp_path / "stranger")

    def test_refused(self, sshd: Sshd, stranger: Path) -> None:
        error = refusal(ssh_host(sshd, OS_USER, identity_file=stranger))
        assert error.code == "authentication"
        assert f"does not let {OS_USER} in" in error.message
        assert str(stranger) in error.message
        assert "authorized_keys" in error.hint

    def test_a_missing_key_is_named(self, sshd: Sshd, tmp_path: Path) -> None:
        error = refusal(ssh_host(sshd, OS_USER, identity_file=tmp_path / "nowhere"))
        assert error.code == "authentication"
        assert f"{tmp_path}/nowhere does not exist" in error.message

    def test_a_protected_key_is_named(self, sshd: Sshd, tmp_path: Path) -> None:
        key = tmp_path / "protected"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key))
        error = refusal(ssh_host(sshd, OS_USER, identity_file=key))
        assert "protected by a passphrase" in error.message
        assert "ssh-add" in error.hint

    def test_the_agents_key(self, sshd: Sshd, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        assert connects(ssh_host(sshd, OS_USER, identity_file=None))

    def test_the_configured_agents_key(self, sshd: Sshd, agent: Path, tmp_path: Path) -> None:
        config = hosts_file(tmp_path / "config", f"IdentityAgent {agent}\n")
        assert connects(ssh_host(sshd, OS_USER, config, identity_file=None))
        none = hosts_file(tmp_path / "config", "IdentityAgent none\nIdentityFile /nowhere\n")
        assert refusal(ssh_host(sshd, OS_USER, none, identity_file=None)).code == "authentication"

    def test_an_agent_that_is_gone(self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
        assert connects(ssh_host(sshd, OS_USER))

    def test_the_named_key_comes_before_the_agents(
        self, sshd: Sshd, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """sshd hangs up after six keys."""
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        subprocess.run(("ssh-add", "-q", "-D"), check=True, capture_output=True)
        for number in range(7):
            key = make_key(tmp_path / f"key{number}")
            subprocess.run(("ssh-add", "-q", str(key)), check=True, capture_output=True)
        assert connects(ssh_host(sshd, OS_USER))
        error = refusal(ssh_host(sshd, OS_USER, identity_file=tmp_path / "nowhere"))
        assert error.code == "authentication"

    def test_keys_of_other_types(self, sshd: Sshd, tmp_path: Path) -> None:
        accepted = sshd.folder / "authorized_keys"
        before = accepted.read_text()
        for kind in ("rsa", "ecdsa"):
            key = tmp_path / kind
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key))
            accepted.write_text(before + key.with_suffix(".pub").read_text())
            assert connects(ssh_host(sshd, OS_USER, identity_file=key))
        accepted.write_text(before)


@pytest.fixture(params=["openssh", "paramiko"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    if request.param == "paramiko":
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return request.param


def configured(sshd: Sshd, config: Path, alias: str) -> SshHost:
    return ssh_host(sshd, None, config, ssh_host=alias, port=None, identity_file=None, known_hosts_file=None)


def block(sshd: Sshd, alias: str, *more: str) -> str:
    lines = [
        f"Host {alias}",
        "HostName 127.0.0.1",
        f"Port {sshd.port}",
        f"User {OS_USER}",
        f"IdentityFile {sshd.key}",
        f"UserKnownHostsFile {sshd.known_hosts}",
        *more,
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.usefixtures("client")
class TestConfig:
    """The operator's own configuration, with and without the OpenSSH client."""

    def test_everything_from_the_configuration(self, sshd: Sshd, tmp_path: Path) -> None:
        config = hosts_file(tmp_path / "config", block(sshd, "db1.example"))
        assert connects(configured(sshd, config, "db1.example"))

    def test_the_inventory_wins(self, sshd: Sshd, tmp_path: Path) -> None:
        config = hosts_file(tmp_path / "config", "User nobody\nPort 1\nUserKnownHostsFile /nowhere\n")
        assert connects(ssh_host(sshd, OS_USER, config))

    def test_host_key_alias(self, sshd: Sshd, tmp_path: Path) -> None:
        known = hosts_file(tmp_path / "known", sshd.known_line("the-alias"))
        text = block(sshd, "db1.example", "HostKeyAlias The-Alias").replace(str(sshd.known_hosts), str(known))
        assert connects(configured(sshd, hosts_file(tmp_path / "config", text), "db1.example"))

    def test_proxy_jump(self, sshd: Sshd, tmp_path: Path) -> None:
        config = hosts_file(
            tmp_path / "config",
            block(sshd, "jump.example"),
            block(sshd, "second.example"),
            block(sshd, "db1.example", f"ProxyJump jump.example,{OS_USER}@second.example:{sshd.port}"),
        )
        assert connects(configured(sshd, config, "db1.example"))

    def test_a_jump_host_that_is_not_known(self, sshd: Sshd, tmp_path: Path) -> None:
        jump = block(sshd, "jump.example").replace(str(sshd.known_hosts), "/nowhere")
        config = hosts_file(tmp_path / "config", jump, block(sshd, "db1.example", "ProxyJump jump.example"))
        error = refusal(configured(sshd, config, "db1.example"))
        assert "ost key" in error.message

    def test_proxy_command(self, sshd: Sshd, tmp_path: Path) -> None:
        relay = tmp_path / "relay.py"
        relay.write_text(RELAY)
        command = f"ProxyCommand /usr/bin/python3 {relay} %h %p %r %n"
        config = hosts_file(tmp_path / "config", block(sshd, "db1.example", command))
        assert connects(configured(sshd, config, "db1.example"))
        assert (tmp_path / "relay.args").read_text() == f"127.0.0.1 {sshd.port} {OS_USER} db1.example"

    def test_a_proxy_that_fails_is_quoted(self, sshd: Sshd, tmp_path: Path) -> None:
        command = "ProxyCommand /bin/sh -c 'echo no way through >&2'"
        config = hosts_file(tmp_path / "config", block(sshd, "db1.example", command))
        error = refusal(configured(sshd, config, "db1.example"))
        assert "the proxy says: no way through" in error.message


class TestOpenssh:
    def test_include_and_match_hold(self, sshd: Sshd, tmp_path: Path) -> None:
        included = hosts_file(tmp_path / "more", block(sshd, "db1.example"))
        config = hosts_file(tmp_path / "config", f"Match host db1.example\n  Compression no\nInclude {included}\n")
        assert connects(configured(sshd, config, "db1.example"))

    def test_without_openssh_include_and_match_are_told(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        config = hosts_file(
            tmp_path / "config",
            "Match exec true\n  User nobody\n",
            "Host db1\n  User alice\n",
            f"Include {tmp_path}/more\n",
        )
        told: list[str] = []
        assert SshConfig(told.append, config).target(ssh_node(sshd, None, ssh_host="db1")).user == "alice"
        assert told == [f"{config} uses include and match, which are honoured only where the ssh client is installed"]

    def test_a_mistake_in_the_configuration(self, sshd: Sshd, tmp_path: Path) -> None:
        config = hosts_file(tmp_path / "config", "NoSuchOption yes\n")
        error = refusal(ssh_host(sshd, OS_USER, config))
        assert error.code == "ssh-config"
        assert "ssh -G" in error.hint

    def test_a_name_that_does_not_resolve(self, sshd: Sshd) -> None:
        error = refusal(ssh_host(sshd, OS_USER, ssh_host="db1.invalid"))
        assert error.code == "unknown-host"


RELAY = """
import os, pathlib, select, socket, sys
pathlib.Path(__file__).with_suffix(".args").write_text(" ".join(sys.argv[1:]))
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for ready in select.select([0, far], [], [])[0]:
        chunk = os.read(0, 65536) if ready == 0 else far.recv(65536)
        if not chunk:
            sys.exit()
        far.sendall(chunk) if ready == 0 else os.write(1, chunk)
"""


def test_fingerprint_is_openssh_s(sshd: Sshd) -> None:
    kind, blob = (sshd.folder / "host_key.pub").read_text().split()[:2]
    key = HostKey(kind, base64.b64decode(blob))
    assert key.fingerprint == run("ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")).split()[1]
