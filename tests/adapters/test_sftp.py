"""SFTP in particular: host keys, logins, whole files only."""

import io

import paramiko
import pytest
from pydantic import ValidationError

from destinations.adapters import sftp
from destinations.driver import Operation
from destinations.errors import StoreroomError

ADD = Operation.ADD


@pytest.fixture
def given(sftp_server):
    return {
        "host": "127.0.0.1",
        "port": sftp_server.port,
        "username": "drop",
        "password": "right",
        "host_fingerprint": sftp_server.fingerprint,
    }


def test_only_whole_files_under_their_names(sftp_server, given, frame, only_delivery):
    folder = sftp_server.root / "whole"
    folder.mkdir()
    driver = sftp.open(
        sftp.Settings(**given, folder="/whole", prefix="vip-", format="jsonl", gzip=True)
    )
    delivery = only_delivery(driver, ADD, frame(["a"], city=["Bern"]))
    for _ in range(2):
        assert driver.send(delivery).results["status"].to_list() == ["accepted"]
    assert [path.name for path in folder.iterdir()] == [f"vip-{delivery.id}.jsonl.gz"]
    driver.close()


def test_a_server_without_atomic_rename_is_served_too(
    sftp_server, given, frame, only_delivery, monkeypatch
):
    (sftp_server.root / "plain").mkdir()

    def unsupported(self, old, new):
        raise OSError("Operation unsupported")

    monkeypatch.setattr(paramiko.SFTPClient, "posix_rename", unsupported)
    driver = sftp.open(sftp.Settings(**given, folder="/plain"))
    delivery = only_delivery(driver, ADD, frame(["a"], city=["Bern"]))
    for _ in range(2):
        assert driver.send(delivery).results["status"].to_list() == ["accepted"]
    assert len(list((sftp_server.root / "plain").iterdir())) == 1
    driver.close()


def test_known_hosts_are_believed_and_strangers_are_not(sftp_server, given, tmp_path):
    known = tmp_path / "known_hosts"
    unpinned = {name: value for name, value in given.items() if name != "host_fingerprint"}
    known.write_text(f"[127.0.0.1]:{sftp_server.port} {sftp_server.public_key}\n")
    driver = sftp.open(sftp.Settings(**unpinned, known_hosts=known))
    assert "drop@127.0.0.1" in driver.check()
    driver.close()

    known.write_text("")
    with pytest.raises(StoreroomError, match="host_fingerprint"):
        sftp.open(sftp.Settings(**unpinned, known_hosts=known)).check()

    other = paramiko.RSAKey.generate(2048)
    known.write_text(f"[127.0.0.1]:{sftp_server.port} ssh-rsa {other.get_base64()}\n")
    with pytest.raises(StoreroomError, match="not match"):
        sftp.open(sftp.Settings(**unpinned, known_hosts=known)).check()

    with pytest.raises(StoreroomError, match="known_hosts cannot be read"):
        sftp.open(sftp.Settings(**unpinned, known_hosts=tmp_path / "absent")).check()


def test_private_keys_are_read_and_a_stranger_is_refused(given, frame, only_delivery):
    text = io.StringIO()
    paramiko.ECDSAKey.generate().write_private_key(text)
    with_key = given | {"password": None, "private_key": text.getvalue()}
    driver = sftp.open(sftp.Settings(**with_key))
    assert driver.send(only_delivery(driver, ADD, frame(["a"]))).stop

    broken = sftp.open(sftp.Settings(**(with_key | {"private_key": "nonsense"})))
    assert "not an Ed25519" in broken.send(only_delivery(broken, ADD, frame(["a"]))).stop


def test_a_lost_session_is_tried_later_and_heals(sftp_server, given, frame, only_delivery):
    driver = sftp.open(sftp.Settings(**given))
    delivery = only_delivery(driver, ADD, frame(["a"], city=["Bern"]))
    driver.send(delivery)
    driver._pool._free[0].get_transport().sock.close()
    assert driver.send(delivery).results["status"].to_list() == ["retry"]
    assert driver.send(delivery).results["status"].to_list() == ["accepted"]
    driver.close()


def test_a_login_needs_a_secret(given):
    with pytest.raises(ValidationError, match="password or private_key"):
        sftp.Settings(**(given | {"password": None}))
