"""The env file: its values, merging, reading back, and the round trip through its readers."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from io import StringIO
from urllib.parse import unquote, urlsplit

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from replctl.envfile import EnvValues, ListedNodes, differences, listed_nodes, managed_values, masked, merge
from replctl.model.inventory import Inventory
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from tests.unit.config_inventories import a_node, an_inventory, passwords

HOSTILE = "a/p?p@:,#%&'$ x`\"\\~!*é\n"
DB1, DB2, DB3 = (NodeName(f"db{n}") for n in (1, 2, 3))
KEYS = ("DB_READ_REPLICAS_ENABLED", "DB_PRIMARY_URL", "DB_READ_REPLICA_URLS")

texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1)


def cluster(user: str = "chat", database: str = "chatdb", **app_settings: str) -> Inventory:
    return an_inventory(
        a_node("db1", "10.0.0.11"),
        a_node("db2", "fd00::12", port=5433),
        a_node("db3", "db3.Example"),
        app=user,
        database=database,
        settings=app_settings,
    )


def values(password: str = "pw", *, replicas: tuple[NodeName, ...] = (DB2,), **app_settings: str) -> EnvValues:
    return managed_values(cluster(**app_settings), passwords(password), DB1, replicas)


def plain(managed: EnvValues) -> dict[str, str]:
    return {key: value.reveal() if isinstance(value, Secret) else value for key, value in managed.items()}


def merged(existing: str | None, managed: EnvValues | None = None) -> str:
    return merge(existing, managed or values()).reveal()


NEW = (
    "DB_READ_REPLICAS_ENABLED=true\n"
    "DB_PRIMARY_URL=postgresql://chat:pw@10.0.0.11:5432/chatdb\n"
    "DB_READ_REPLICA_URLS=postgresql://chat:pw@[fd00::12]:5433/chatdb\n"
)
ENABLED, PRIMARY, REPLICAS = NEW.splitlines(keepends=True)


def in_regions(*regions: str | None, app: str | None = None) -> Inventory:
    inventory = cluster()
    nodes = {
        node.name: replace(node, region=region) for node, region in zip(inventory.nodes.values(), regions, strict=True)
    }
    return replace(inventory, nodes=nodes, app=replace(inventory.app, region=app))


@pytest.mark.parametrize(
    ("regions", "app", "asked", "expected"),
    [
        ((None, None, None), None, None, (DB2, DB3)),
        (("eu", "us", "eu"), None, None, (DB3, DB2)),  # the primary's region
        (("eu", "us", "eu"), "us", None, (DB2, DB3)),
        (("eu", "us", "eu"), "eu", "us", (DB2, DB3)),
        (("eu", "us", None), None, None, (DB2, DB3)),
    ],
)
def test_replicas_of_the_application_s_region_come_first(regions, app, asked, expected) -> None:
    assert in_regions(*regions, app=app).reading_order(DB1, {DB2, DB3}, asked) == expected


def test_a_node_out_of_rotation_is_not_read_from() -> None:
    inventory = cluster()
    inventory = replace(inventory, nodes={**inventory.nodes, DB2: replace(inventory.nodes[DB2], in_rotation=False)})
    managed = plain(managed_values(inventory, passwords("pw"), DB1, (DB2,)))
    assert (managed["DB_READ_REPLICAS_ENABLED"], managed["DB_READ_REPLICA_URLS"]) == ("false", "")
    assert "fd00::12" in plain(managed_values(inventory, passwords("pw"), DB2, ()))["DB_PRIMARY_URL"]


def test_values_of_a_cluster() -> None:
    managed = managed_values(
        cluster(DB_READ_REPLICA_STRATEGY="round_robin", DB_LAG_CHECK_ENABLED="true"),
        passwords("pw"),
        DB1,
        (DB3, DB2),
    )
    assert list(plain(managed).items()) == [
        ("DB_READ_REPLICAS_ENABLED", "true"),
        ("DB_PRIMARY_URL", "postgresql://chat:pw@10.0.0.11:5432/chatdb"),
        (
            "DB_READ_REPLICA_URLS",
            "postgresql://chat:pw@[fd00::12]:5433/chatdb,postgresql://chat:pw@db3.Example:5432/chatdb",
        ),
        ("DB_READ_REPLICA_STRATEGY", "round_robin"),
        ("DB_LAG_CHECK_ENABLED", "true"),
    ]


@pytest.mark.fault("84i")
def test_without_replicas_the_line_stays_empty() -> None:
    text = merged(None, values(replicas=()))
    assert text.startswith("DB_READ_REPLICAS_ENABLED=false\n")
    assert text.endswith("DB_READ_REPLICA_URLS=\n")


def test_every_byte_but_the_unreserved_ones_is_percent_encoded() -> None:
    managed = managed_values(cluster(user="é@", database="a/b c"), passwords(HOSTILE), DB1, ())
    url = plain(managed)["DB_PRIMARY_URL"]
    assert url == (
        "postgresql://%C3%A9%40:a%2Fp%3Fp%40%3A%2C%23%25%26%27%24%20x%60%22%5C~%21%2A%C3%A9%0A@10.0.0.11:5432/a%2Fb%20c"
    )


@pytest.mark.fault("84f")
@given(texts, texts, texts)
def test_urls_are_read_back_by_libpq_and_urllib(user: str, password: str, database: str) -> None:
    managed = plain(managed_values(cluster(user=user, database=database), passwords(password), DB1, (DB2,)))
    for url, host, port in (
        (managed["DB_PRIMARY_URL"], "10.0.0.11", "5432"),
        (managed["DB_READ_REPLICA_URLS"], "fd00::12", "5433"),
    ):
        expected = {"user": user, "password": password, "dbname": database, "host": host, "port": port}
        assert conninfo_to_dict(url) == expected
        assert unquote(urlsplit(url).password or "") == password
        # Nothing of this is special to sh, python-dotenv or systemd outside of the places where it stands here.
        assert re.fullmatch(r"[A-Za-z0-9._~:/@%\[\]-]+", url)


@pytest.mark.fault("84e")
@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (None, NEW),
        ("", NEW),
        (NEW, NEW),
        (NEW.rstrip("\n"), NEW.rstrip("\n")),
        ("# mine\nA=1\n", "# mine\nA=1\n" + NEW),
        ("A=1", "A=1\n" + NEW),
        ("A=1\r\nB='x'\r\n", "A=1\r\nB='x'\r\n" + NEW),
        ("DB_PRIMARY_URL=x\nA=1\n", PRIMARY + "A=1\n" + ENABLED + REPLICAS),
        ("A=1\nDB_PRIMARY_URL=x\nB=2\nDB_PRIMARY_URL=y\n", "A=1\n" + PRIMARY + "B=2\n" + ENABLED + REPLICAS),
        ("export DB_PRIMARY_URL='x'\nexport A=1\n", PRIMARY + "export A=1\n" + ENABLED + REPLICAS),
        ("export DB_PRIMARY_URL\n", PRIMARY + ENABLED + REPLICAS),
        ("  DB_PRIMARY_URL = x\n", PRIMARY + ENABLED + REPLICAS),
        (PRIMARY.replace("\n", "\r\n") + "A=1\r\n", PRIMARY + "A=1\r\n" + ENABLED + REPLICAS),
        ("#DB_PRIMARY_URL=x\nMY_DB_PRIMARY_URL=y\n", "#DB_PRIMARY_URL=x\nMY_DB_PRIMARY_URL=y\n" + NEW),
        ("DB_READ_REPLICA_STRATEGY=random\n", "DB_READ_REPLICA_STRATEGY=random\n" + NEW),
        ('A="x\nDB_PRIMARY_URL=y\n"\n', 'A="x\nDB_PRIMARY_URL=y\n"\n' + NEW),
        ("A='it\nDB_PRIMARY_URL=y\n", "A='it\n" + PRIMARY + ENABLED + REPLICAS),
        ("A=it's\nDB_PRIMARY_URL=y\nB=it's\n", "A=it's\n" + PRIMARY + "B=it's\n" + ENABLED + REPLICAS),
        ("# don't\nDB_PRIMARY_URL=y\n# won't\n", "# don't\n" + PRIMARY + "# won't\n" + ENABLED + REPLICAS),
        ('DB_PRIMARY_URL="x\ny"\nA=1\n', PRIMARY + "A=1\n" + ENABLED + REPLICAS),
        ("A=x\\\nDB_PRIMARY_URL=y\n", "A=x\\\n\n" + PRIMARY + ENABLED + REPLICAS),
        (NEW + "A=x\\\nDB_PRIMARY_URL=y\nB=1\n", NEW + "A=x\\\n\nB=1\n"),
        ("A=x\\", "A=x\\\n\n" + NEW),
        ("A=x\\\\\nDB_PRIMARY_URL=y\n", "A=x\\\\\n" + PRIMARY + ENABLED + REPLICAS),
        ("# x \\\n" + NEW, "# x \\\n\n" + NEW),
    ],
)
def test_merge(existing: str | None, expected: str) -> None:
    assert merged(existing) == expected
    assert merged(expected) == expected


def test_the_merged_text_is_a_secret() -> None:
    assert "pw" not in f"{merge(None, values())!r}{values()!r}"


pieces = st.lists(
    st.sampled_from(
        [
            *NEW.splitlines(keepends=True),
            "A=1\n",
            "A=1\r\n",
            "\n",
            "# it's\n",
            "# x\\\n",
            "B='two\nlines'\n",
            'C="two\nlines \\" "\n',
            "D=x\\\n",
            "E='open\n",
            "DB_PRIMARY_URL=x\n",
            "export DB_PRIMARY_URL='y z'\r\n",
            "DB_READ_REPLICA_URLS\n",
            "DB_READ_REPLICAS_ENABLED = false\n",
            "F=last",
        ]
    ),
    max_size=6,
).map("".join)


@settings(max_examples=300)
@given(pieces)
def test_merging_twice_is_merging_once(existing: str) -> None:
    text = merged(existing)
    assert merged(text) == text
    assert differences(text, values()) == []
    assert bool(differences(existing, values())) == (text != existing)


@pytest.mark.fault("84f")
@given(pieces, texts)
def test_python_dotenv_reads_what_was_merged(existing: str, password: str) -> None:
    managed = values(password)
    if re.search(r"='open\n", existing):
        existing = existing.replace("='open\n", "='closed'\n")
    read = dotenv_values(stream=StringIO(merged(existing, managed)), interpolate=True)
    assert {key: read[key] for key in managed} == plain(managed)


def shell_reads(shell: str, files: Iterable[str]) -> list[dict[str, str]]:
    """The managed keys as one shell has them after reading each of the files, as ``. FILE`` would."""
    shown = "; ".join(f'printf "%s\\0" "${key}"' for key in KEYS)
    script = "".join(f"(eval {shlex.quote(text)}; {shown})\n" for text in files)
    done = subprocess.run([shell, "-eu"], input=script.encode(), capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    fields = done.stdout.decode().split("\0")[:-1]
    return [dict(zip(KEYS, fields[at : at + 3], strict=True)) for at in range(0, len(fields), 3)]


@pytest.mark.fault("84f")
@settings(max_examples=4, deadline=None)
@given(st.lists(texts, min_size=1, max_size=40))
def test_shells_read_what_was_merged(some: list[str]) -> None:
    many = [*some, HOSTILE, "~", "~root", ":~", "$(touch x)", "%s", "-n"]
    existing = "# it's\nA='two\nDB_PRIMARY_URL=no'\nexport DB_PRIMARY_URL=old\nB=x\\\n"
    files = [merged(existing, values(password)) for password in many]
    for shell in ("sh", "bash"):
        assert shell_reads(shell, files) == [plain(values(password)) for password in many]


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (NEW, []),
        (NEW + "A=1\n", []),
        (
            "A=1\n",
            [
                "DB_READ_REPLICAS_ENABLED is missing, it should be true",
                "DB_PRIMARY_URL is missing, it should be postgresql://chat:********@10.0.0.11:5432/chatdb",
                "DB_READ_REPLICA_URLS is missing, it should be postgresql://chat:********@[fd00::12]:5433/chatdb",
            ],
        ),
        (NEW.replace(":pw@10", ":other@10"), ["DB_PRIMARY_URL has another password"]),
        (
            NEW.replace("@10.0.0.11", "@10.0.0.12"),
            [
                "DB_PRIMARY_URL is postgresql://chat:********@10.0.0.12:5432/chatdb,"
                " it should be postgresql://chat:********@10.0.0.11:5432/chatdb"
            ],
        ),
        (
            ENABLED + PRIMARY + "DB_READ_REPLICA_URLS=\n",
            ["DB_READ_REPLICA_URLS is empty, it should be postgresql://chat:********@[fd00::12]:5433/chatdb"],
        ),
        ("export " + NEW, ["DB_READ_REPLICAS_ENABLED has the right value, but not on one plain line"]),
        (ENABLED + NEW, ["DB_READ_REPLICAS_ENABLED has the right value, but not on one plain line"]),
        ("# x\\\n" + NEW, ["a managed line is joined to the line above it by a backslash"]),
    ],
)
def test_differences(existing: str, expected: list[str]) -> None:
    assert differences(existing, values()) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (PRIMARY, "DB_PRIMARY_URL=postgresql://chat:********@10.0.0.11:5432/chatdb\n"),
        (
            "postgresql://a:b@h:1/d,postgresql://a:b@i:1/d",
            "postgresql://a:********@h:1/d,postgresql://a:********@i:1/d",
        ),
        ("X='redis://:p@w/d o@h/0' # see http://h:80/", "X='redis://:********@h/0' # see http://h:80/"),
        ("postgresql+psycopg://a:x:y@h/d", "postgresql+psycopg://a:********@h/d"),
        ("postgresql://h/d?user=a&password=secret&x=1", "postgresql://h/d?user=a&password=********&x=1"),
        ("http://h:80/path", "http://h:80/path"),
        ("postgresql://a@h/d", "postgresql://a@h/d"),
    ],
)
def test_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@given(texts)
def test_no_password_of_ours_is_shown(password: str) -> None:
    encoded = plain(values(password))["DB_PRIMARY_URL"].removeprefix("postgresql://chat:").split("@")[0]
    assert masked(merged(None, values(password))) == merged(None, values(password)).replace(
        f"chat:{encoded}@", "chat:********@"
    )


@pytest.mark.parametrize(
    ("existing", "listed"),
    [
        (None, ListedNodes(None, ())),
        ("A=1\nDB_READ_REPLICA_URLS=\n", ListedNodes(None, ())),
        (merged(None, values(HOSTILE, replicas=(DB2, DB3))), ListedNodes(DB1, (DB2, DB3))),
        (
            "export DB_PRIMARY_URL='postgresql+asyncpg://x@DB3.example/y'\n"
            'DB_READ_REPLICA_URLS="postgresql://x:y@10.0.0.11:5432/z, postgresql://x:y@[fd00::12]:5432/z"\n',
            ListedNodes(DB3, (DB1,), ("postgresql://x:********@[fd00::12]:5432/z",)),
        ),
        (
            "DB_PRIMARY_URL=postgresql://x:y@[bad:5432/z\nDB_READ_REPLICA_URLS=what\n",
            ListedNodes(None, (), ("postgresql://x:********@[bad:5432/z", "what")),
        ),
        ("DB_PRIMARY_URL=a\nDB_PRIMARY_URL=postgresql://x:y@10.0.0.11:5432/z\n", ListedNodes(DB1, ())),
        (
            "DB_PRIMARY_URL=postgresql://x:y@10.0.0.11:99999/z\n",
            ListedNodes(None, (), ("postgresql://x:********@10.0.0.11:99999/z",)),
        ),
    ],
)
def test_listed_nodes(existing: str | None, listed: ListedNodes) -> None:
    assert listed_nodes(existing, cluster()) == listed
