"""Which containers are read at all. Media is hostile until proven otherwise.

A playlist (HLS, DASH, ffconcat, SDP) names other files, and FFmpeg opens them: an upload could make the server read
its own disk. So only containers that hold their streams themselves are on the list, and the only protocol is a file, or parts
of one. SVG is none of them: it is a program that names files too.
"""

import os
from pathlib import Path

from topclip.media.fragments import displacing_index

VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,gif,apng,h264,hevc,vvc,obu,av1,ivf,"
    "m4v,h263,h261,vc1,vc1test,wtv,nut,dv,rm,gxf,mjpeg,mpjpeg,mtv,nsv,nuv,r3d,roq,swf,thp,y4m,yuv4mpegpipe,bink,cavsvideo,"
    "dirac,dnxhd,dxa,amv,pva,smk,xmv,ty,viv,lxf,live_flv,pmp,psxstr,idcin,film_cpk,webp_anim"
)
STILL_FORMATS = (
    "png_pipe,jpeg_pipe,bmp_pipe,webp_pipe,tiff_pipe,gif_pipe,jpegls_pipe,j2k_pipe,psd_pipe,pam_pipe,ppm_pipe,"
    "pgm_pipe,pbm_pipe,sgi_pipe,sunrast_pipe,exr_pipe,dds_pipe,dpx_pipe,ico,hdr_pipe,jpegxl_pipe,qoi_pipe"
)
AUDIO_FORMATS = "mp3,wav,w64,flac,aac,ac3,eac3,aiff,amr,caf,opus,oga,dts,truehd,ape,tta,wv,au,mpc,mpc8"

PROTOCOLS = "file"
FORMATS = f"{VIDEO_FORMATS},{STILL_FORMATS},{AUDIO_FORMATS}"

MAX_STREAMS = 256
"""Of one source; a whole satellite's multiplex has fewer."""

MOST_PIXELS = (1 << 31) - 1
"""FFmpeg takes no larger limit."""

OPEN_OPTIONS = {"protocol_whitelist": PROTOCOLS, "format_whitelist": FORMATS, "max_streams": str(MAX_STREAMS)}


def decoder_pixels(max_pixels: int) -> int:
    """Largest picture that a decoder may make where so many pixels are allowed: it pads what it decodes, and what is only
    somewhat too large is refused with its size, not as damage.
    """
    return min(4 * max_pixels + (1 << 20), MOST_PIXELS)


def input_args(path: Path, max_pixels: int | None) -> list[str]:
    """Arguments that make a file an input of ffmpeg. max_pixels: largest picture that is allowed, None where it is our own."""
    url, options = source_url(path)
    args = [text for name, value in options.items() for text in (f"-{name}", value)]
    limit = [] if max_pixels is None else ["-max_pixels", str(decoder_pixels(max_pixels))]
    return [*args, *limit, "-i", url]


def source_url(path: Path) -> tuple[str, dict[str, str]]:
    """A file to be read as FFmpeg takes it, and the options that it is opened with.

    One whose fragments an index displaces is read as two parts, without that index.
    """
    url, span = file_url(path), displacing_index(path)
    if span is None or "|" in url:  # which would part it
        return url, OPEN_OPTIONS
    spans = ((0, span[0]), (span[1], path.stat().st_size))
    parts = (f"subfile,,start,{start},end,{end},,:{url}" for start, end in spans)
    return f"concat:{'|'.join(parts)}", OPEN_OPTIONS | {"protocol_whitelist": f"{PROTOCOLS},concat,subfile"}


def file_url(path: Path) -> str:
    """The path as FFmpeg takes it without reading a protocol or an option into the name."""
    return f"file:{os.path.abspath(path)}"
