"""`topclip doctor` finds what is wrong with folders and disks, each mistake planted for real."""

import os
from pathlib import Path

import pytest

from tests.nodes import program
from tests.stack.doctoring import Started, command, found, told


def test_a_full_disk(tmp_path: Path, started: Started) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mount = [program("unshare"), "--user", "--map-root-user", "--mount", program("sh"), "-c"]
    mount += [f'mount -t tmpfs -o size=16m small {data} && exec "$@"', "sh"]  # gone with the process
    env = {"REDIS_URL": started().url, "TOPCLIP_DATA_DIR": str(data)}
    checks = command(*mount, env=env, cwd=tmp_path)
    assert told(checks["disk"]).startswith("fail: 0.0 GiB free for the data folder")
    assert "TOPCLIP_RETENTION_DAYS" in told(checks["disk"])


def test_wrong_permissions(tmp_path: Path, started: Started) -> None:
    """As after a first run by root: the folder is ours, what is in it is not."""
    data = tmp_path / "data"
    (data / "store" / "jobs").mkdir(parents=True)
    env = {"REDIS_URL": started().url, "TOPCLIP_DATA_DIR": str(data)}
    before: list[str] = []
    if os.geteuid() == 0:  # who may write anywhere: that power is taken away
        caps = "-dac_override,-dac_read_search,-fowner"
        before = [program("setpriv"), f"--bounding-set={caps}", f"--inh-caps={caps}"]
        for path in (data / "store", data / "store" / "jobs"):
            os.chown(path, 65534, 65534)
    else:
        (data / "store" / "jobs").chmod(0o500)
        (data / "store").chmod(0o500)
    checks = command(*before, env=env, cwd=tmp_path)
    assert f"{data / 'store'}: Permission denied" in told(checks["data folder"])
    assert "chown -R" in told(checks["data folder"])
    assert "store" in checks


def test_jobs_of_another_user_in_a_store_of_ours(tmp_path: Path, started: Started) -> None:
    """As after a restore by root: neither retention nor DELETE gets them away, and they do not come back from there."""
    jobs = tmp_path / "data" / "store" / "jobs"
    for name in ("a", "b", "c"):
        (jobs / name).mkdir(parents=True)
    before: list[str] = []
    if os.geteuid() == 0:
        caps = "-dac_override,-dac_read_search,-fowner"
        before = [program("setpriv"), f"--bounding-set={caps}", f"--inh-caps={caps}"]
        for name in ("b", "c"):
            os.chown(jobs / name, 65534, 65534)
    else:
        for name in ("b", "c"):
            (jobs / name).chmod(0o500)
    env = {"REDIS_URL": started().url, "TOPCLIP_DATA_DIR": str(tmp_path / "data")}
    text = told(command(*before, env=env, cwd=tmp_path)["store"])
    assert text.startswith(f"fail: {jobs / 'b'}: may not be read and removed, and 1 more beside it")
    assert "chown -R" in text


@pytest.mark.parametrize(
    ("options", "told_of", "advice"),
    [("ro", "Read-only file system", "remount,rw"), ("nr_inodes=1", "No space left on device", "df -i")],
)
def test_a_folder_where_no_owner_is_at_fault(
    tmp_path: Path, started: Started, options: str, told_of: str, advice: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mount = [program("unshare"), "--user", "--map-root-user", "--mount", program("sh"), "-c"]
    mount += [f'mount -t tmpfs -o {options} small {data} && exec "$@"', "sh"]
    checks = command(*mount, env={"REDIS_URL": started().url, "TOPCLIP_DATA_DIR": str(data)}, cwd=tmp_path)
    text = told(checks["data folder"])
    assert text.startswith(f"fail: {data}: {told_of}")
    assert advice in text
    assert "chown" not in text


@pytest.mark.parametrize("setting", ["TOPCLIP_DATA_DIR", "TOPCLIP_STORE"])
def test_a_folder_that_cannot_be_entered(tmp_path: Path, started: Started, setting: str) -> None:
    """As somebody's home is, or a folder of another user's: everything else is looked at all the same."""
    shut = tmp_path / "shut"
    (shut / "folder").mkdir(parents=True)
    before: list[str] = []
    if os.geteuid() == 0:
        caps = "-dac_override,-dac_read_search,-fowner"
        before = [program("setpriv"), f"--bounding-set={caps}", f"--inh-caps={caps}"]
        os.chown(shut, 65534, 65534)
    shut.chmod(0o700 if before else 0)
    env = {"REDIS_URL": started().url, "TOPCLIP_DATA_DIR": str(tmp_path / "data")} | {setting: str(shut / "folder")}
    checks = command(*before, env=env, cwd=tmp_path)
    shut.chmod(0o700)
    name = "store" if setting == "TOPCLIP_STORE" else "data folder"
    assert f"fail: {shut / 'folder'}: Permission denied" in told(checks[name])
    assert "chmod a+x" in told(checks[name])
    assert "requirepass" in told(checks["password"])


def test_nothing_is_made_where_a_store_is_to_be(tmp_path: Path, started: Started) -> None:
    found(started().url, tmp_path, TOPCLIP_STORE=str(tmp_path / "later"))
    assert not (tmp_path / "later").exists()


def test_a_folder_that_no_system_call_likes(tmp_path: Path, started: Started) -> None:
    """As a mount whose server is gone: whatever the error is, it is told, and the rest is looked at."""
    checks = found(started().url, tmp_path, TOPCLIP_STORE=str(tmp_path / ("a" * 300)))
    assert "File name too long" in told(checks["store"])
    assert "redis" in checks


def test_a_share_that_is_not_mounted_stays_an_empty_folder(tmp_path: Path, started: Started) -> None:
    """A store made there would pass for the service's, which took jobs into it."""
    node, mount = started(), tmp_path / "mount"
    mount.mkdir()
    node.client.hset("topclip:store", "mark", "of another")
    checks = found(node.url, tmp_path, TOPCLIP_STORE=str(mount))
    assert "is the share mounted?" in told(checks["same store"])
    assert list(mount.iterdir()) == []


def test_a_file_where_a_folder_is_to_be(tmp_path: Path, started: Started) -> None:
    (tmp_path / "file").touch()
    told_so = told(found(started().url, tmp_path, TOPCLIP_STORE=str(tmp_path / "file" / "store"))["store"])
    assert "Not a directory" in told_so
    assert "move away what is in its place" in told_so
    assert "chown" not in told_so
