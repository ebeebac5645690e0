"""`topclip keys`: make, list and revoke API keys in the store of the settings. A running server sees it within seconds."""

import json
from pathlib import Path

import click

from topclip.config import Settings
from topclip.model.key import ApiKey
from topclip.storage.factory import store_for
from web.keys import LOOK_EVERY_S, KeyStore, given_keys
from workers.one_store import refuse_unmounted

data_dir_option = click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The server's data folder."
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _store(settings: Settings) -> KeyStore:
    """The keys in the server's store; where its share is not mounted none is made, but by a first key."""
    refuse_unmounted(settings)
    return KeyStore(store_for(settings))


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    Run it where the server runs, as the same user: the keys are kept, as hashes, in the server's store.
    """


@keys.command()
@click.argument("name")
@click.option("--owner", help="Whose jobs it opens; by default NAME. Several keys may stand for one owner.")
@click.option("--admin", is_flag=True, help="It sees the jobs of all owners.")
@click.option("--metrics", is_flag=True, help="It opens /metrics and nothing else, as Prometheus wants it.")
@data_dir_option
@json_flag
def add(name: str, data_dir: Path | None, *, owner: str | None, admin: bool, metrics: bool, as_json: bool) -> None:
    """Make a key called NAME and print it, this once."""
    settings = Settings.from_env(data_dir=data_dir)
    key = KeyStore(store_for(settings)).add(name, owner or name, is_admin=admin, is_for_metrics=metrics)
    told = {"name": name, "owner": owner or name, "admin": admin, "metrics": metrics, "key": key}
    click.echo(json.dumps(told) if as_json else key)
    click.echo("It is shown this once; keep it safe.", err=True)


@keys.command("list")
@data_dir_option
@json_flag
def list_(data_dir: Path | None, as_json: bool) -> None:
    """List the keys: their names and owners, never the keys themselves."""
    settings = Settings.from_env(data_dir=data_dir)
    rows = [_row(key, "store") for key in _store(settings).all()]
    rows += [
        _row(key, f"TOPCLIP_{'METRICS_KEY' if key.is_for_metrics else 'API_KEYS'}") for key in given_keys(settings)
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        role = "admin" if row["admin"] else "metrics" if row["metrics"] else ""
        click.echo(
            f"{row['name']:<24} {row['owner']:<24} {role:<7} {row['created_at'] or '':<20} {row['from']}".rstrip()
        )


@keys.command()
@click.argument("name")
@data_dir_option
def revoke(name: str, data_dir: Path | None) -> None:
    """Make the key NAME worthless, and the cookies that were given for it."""
    store = _store(Settings.from_env(data_dir=data_dir))
    store.revoke(name)
    click.echo(f"revoked; running servers refuse it within {LOOK_EVERY_S:.0f} s", err=True)
    if not store.all():
        click.echo("No key is left in the store. Keys are asked for all the same.", err=True)


def _row(key: ApiKey, source: str) -> dict[str, str | bool | None]:
    created_at = key.created_at.isoformat(timespec="seconds") if key.created_at else None
    roles = {"admin": key.is_admin, "metrics": key.is_for_metrics}
    return {"name": key.name, "owner": key.owner, **roles, "created_at": created_at, "from": source}
