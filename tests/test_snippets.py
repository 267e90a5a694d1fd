"""The documentation's service unit, container file, proxy lines and commands name only what there is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from minivault.app import create_app
from minivault.cli import minivault
from minivault.config import RULES, Settings, load_settings, variable

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENTS = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", PROJECT / "SECURITY.md", *(PROJECT / "docs").glob("*.md")]
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
DEFAULTS = Settings()


FILES = {"ini": "minivault.service", "dockerfile": "Dockerfile", "nginx": "nginx.conf"}


def block(language: str) -> str:
    """The file of `deploy` in a language, which the operations page names."""
    assert f"deploy/{FILES[language]}" in OPERATIONS
    return (PROJECT / "deploy" / FILES[language]).read_text()


def unit(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", block("ini"), re.MULTILINE)


def container(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.*)$", block("dockerfile"), re.MULTILINE)


def proxy(directive: str) -> str:
    [value] = re.findall(rf"^\s*{directive} (.*?);", block("nginx"), re.MULTILINE)
    return str(value)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def assert_starts_this(command: list[str]) -> None:
    """`gunicorn wsgi:app` finds both its settings and the application in the project."""
    assert (command[0].rpartition("/")[2], command[-1]) == ("gunicorn", "wsgi:app")
    assert (PROJECT / "gunicorn.conf.py").is_file()
    assert "app =" in (PROJECT / "wsgi.py").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_named_in_a_document_is_one(document: Path) -> None:
    named = set(re.findall(r"\bMINIVAULT_[A-Z_]*[A-Z]", document.read_text()))
    assert named <= {variable(name) for name in RULES}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_named_in_a_document_is_one(document: Path) -> None:
    for words in re.findall(r"flask minivault ((?:[a-z-]+ ?)+)", document.read_text()):
        command: click.Command = minivault
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"flask minivault {words}"
            command = found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_named_in_a_document_is_one(document: Path) -> None:
    targets = set(re.findall(r"^([\w$()./-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    known = {target.replace("$(VENV)", ".venv") for target in targets}
    assert set(re.findall(r"(?:^|`)make ([a-z./-]+)", document.read_text(), re.MULTILINE)) <= known


def test_the_unit_runs_what_there_is_and_gives_it_time_to_stop() -> None:
    [folder] = unit("WorkingDirectory")
    [start] = unit("ExecStart")
    check, _ = unit("ExecReload")
    for line in (start, check):
        assert line.startswith(f"{folder}/.venv/bin/")
        assert_starts_this(line.split())
    assert seconds(unit("TimeoutStopSec")[0]) > DEFAULTS.graceful_timeout_s
    assert f"MINIVAULT_HOME=/var/lib/{unit('StateDirectory')[0]}" in OPERATIONS
    assert f"MINIVAULT_LOG_DIR=/var/log/{unit('LogsDirectory')[0]}" in OPERATIONS


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd, which could judge the unit, is not installed")
    file = tmp_path / "minivault.service"
    file.write_text(re.sub(r"/opt/minivault\S*", "/bin/true", block("ini")).replace("User=minivault", "User=root"))
    result = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert (result.returncode, [line for line in result.stderr.splitlines() if file.name in line]) == (0, [])


def test_the_container_holds_all_that_the_server_and_its_installation_need() -> None:
    copied = {source.rstrip("/") for line in container("COPY") for source in line.split()[:-1]}
    assert [source for source in copied if not (PROJECT / source).exists()] == []
    read_by_setup = set(re.findall(r"(?:file:|license_files =) *(\S+)", (PROJECT / "setup.cfg").read_text()))
    assert {"minivault", "wsgi.py", "gunicorn.conf.py", "setup.cfg", "pyproject.toml"} | read_by_setup <= copied
    [installs] = [line for line in container("RUN") if "pip install" in line]
    assert set(re.findall(r"-c (\S+)", installs)) <= copied
    assert_starts_this(json.loads(container("CMD")[0]))


def test_the_containers_settings_and_its_health_check_fit_each_other() -> None:
    [words] = map(shlex.split, container("ENV"))
    settings = load_settings(dict(word.split("=", 1) for word in words), PROJECT / "no.env")
    [volume] = container("VOLUME")
    assert {settings.home.parts[:2], settings.log_dir.parts[:2]} == {Path(volume).parts}
    [(port, path)] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", container("HEALTHCHECK")[0])
    assert settings.bind.endswith(f":{port}")
    assert path in {rule.rule for rule in create_app(settings).url_map.iter_rules()}


def test_the_proxy_lets_through_what_the_server_allows() -> None:
    assert proxy("proxy_pass") == f"http://{DEFAULTS.bind}"
    assert proxy("client_max_body_size") == proxy("client_body_buffer_size") == f"{DEFAULTS.max_body_kb // 1024}m"
    assert seconds(proxy("proxy_read_timeout")) > DEFAULTS.deadline_s


@pytest.mark.services
def test_the_proxys_site_is_one_that_nginx_takes(tmp_path: Path) -> None:
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        pytest.skip("nginx and openssl, which could judge the site, are not installed: `make faults` installs nginx")
    key, certificate = tmp_path / "site.key", tmp_path / "site.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=llm.example.org", "-days", "1"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = re.sub(r"(ssl_certificate_key) [^;]*", rf"\1 {key}", block("nginx"))
    site = re.sub(r"(ssl_certificate) [^;]*", rf"\1 {certificate}", site)
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{site}\n}}\n"
    )
    done = subprocess.run(["nginx", "-t", "-c", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
