"""`topclip shots`: the shot boundaries of a file, in this process."""

from collections.abc import Iterator
from pathlib import Path

import click

from cli.workplace import SOURCE, json_flag, local_request, print_document, progress, workplace
from topclip.model.analysis import Analysis, Cut
from topclip.model.base import JsonDict
from topclip.model.request import ClipOptions
from topclip.pipeline.whole import load_analysis
from topclip.run_analysis import analyse


@click.command()
@click.argument("file", type=SOURCE)
@json_flag
def shots(file: Path, *, as_json: bool) -> int:
    """Find the shot boundaries of FILE: the first frame of each new shot."""
    with workplace() as ctx, progress() as on_progress:
        info = analyse(local_request(file, ClipOptions()), ctx, on_progress, has_sound=False)
        analysis = load_analysis(info, ctx)
    document = {"fps": info.video.fps, "cuts": [cut.to_dict() for cut in _cuts(analysis)]}
    print_document(document, _describe_shots, as_json=as_json)
    return 0


def _cuts(analysis: Analysis) -> Iterator[Cut]:
    for shot in analysis.shots[1:]:
        yield Cut(frame=shot.start_frame, time_s=shot.start_s)


def _describe_shots(document: JsonDict) -> str:
    lines = [f"{cut['time_s']:10.3f} s  frame {cut['frame']}" for cut in document["cuts"]]
    return "\n".join([f"{len(lines)} cuts at {document['fps']} frames a second", *lines])
