"""`topclip up`: flags to settings, and what is said when the stack is ready."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from topclip.config import Settings

if TYPE_CHECKING:
    from stack.up import Urls

PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--port", type=PORT, help="Port of the web server; 0 picks a free one.")
@click.option("--host", help="Address of the web server; off loopback it needs API keys.")
@click.option("--flower-port", type=PORT, help="Port of Flower, on loopback; 0 picks a free one.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder of everything kept.")
@click.option("--concurrency", type=click.IntRange(1, 256), help="Tasks at once in the worker.")
@click.option("--redis-url", help="Use this Redis instead of the embedded one.")
@click.option("--no-flower", is_flag=True, help="Do without Flower.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON with the URLs when ready.")
def up(no_flower: bool, as_json: bool, **given: Any) -> None:
    """Run the whole stack in the foreground until Ctrl-C or SIGTERM.

    Without --redis-url (or REDIS_URL in the environment or .env) an embedded Redis is started; its data stay in the
    data folder.
    """
    from stack.up import run  # noqa: PLC0415 - loads the supervisor, which `topclip up --help` has no need of

    settings = Settings.from_env(**given)

    def ready(urls: "Urls") -> None:
        if as_json:
            click.echo(json.dumps(urls.to_dict()))
        else:
            _summarise(urls, settings)

    run(settings, has_flower=not no_flower, on_ready=ready)


def _summarise(urls: "Urls", settings: Settings) -> None:
    rows = (
        ("page", urls.web),
        ("API", f"{urls.web}/api/docs"),
        ("Flower", urls.flower or "off"),
        ("data", settings.data_dir.absolute()),
    )
    click.echo("\nTopClip is ready. Ctrl-C stops it.\n", err=True)
    for name, value in rows:
        click.echo(f"  {name:<7}{value}", err=True)
    click.echo(f"\n  try:   topclip submit VIDEO --url {urls.web} --watch\n", err=True)
