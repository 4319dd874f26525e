#!/usr/bin/env python3
"""Draws docs/terminal.svg: what a terminal shows while nas-sync sends documents to an sshd on loopback. `make picture`.

Usage: tests/picture.py BINARY OUTPUT. Nothing in the picture is written by hand but the names of the files.
"""

import os
import pathlib
import pty
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from html import escape

COLUMNS, CELL, LINE = 104, 8, 19
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff", "2": "#8b949e"}


def start_nas(home):
    """An sshd that stands in for the NAS, and its port."""
    for name in ("host_key", "nas_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    shutil.copy(home / "nas_key.pub", home / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.makedirs("/run/sshd", exist_ok=True)
    options = {"ListenAddress": "127.0.0.1", "AuthorizedKeysFile": home / "authorized_keys", "PidFile": "none", "StrictModes": "no", "UsePAM": "no"}
    command = [shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ["PATH"]), "-D", "-f", "/dev/null", "-h", home / "host_key", "-p", str(port)]
    server = subprocess.Popen(command + [word for name, value in options.items() for word in ("-o", f"{name}={value}")])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, port
        except OSError:
            time.sleep(0.05)
    raise SystemExit("sshd does not start")


def shown(command, env):
    """What a terminal holds when this command has ended: lines that were written over are gone."""
    ours, theirs = pty.openpty()
    os.system(f"stty cols {COLUMNS} <{os.ttyname(theirs)}")
    program = subprocess.Popen(shlex.split(command), env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = bytearray()
    while True:
        try:
            output.extend(os.read(ours, 65536))
        except OSError:  # Linux says so when nobody has the other end any more.
            break
    program.wait()
    os.close(ours)
    lines = []
    for line in output.decode().replace("\r\n", "\n").split("\n"):
        lines.append(re.sub(r"\x1b\[[0-9;]*[A-LN-Zhl]", "", line.split("\r")[-1]))
    lines = [line[at : at + COLUMNS] for line in lines for at in range(0, max(1, len(line)), COLUMNS)]
    return [line for line in lines if re.sub(r"\x1b\[[0-9;]*m", "", line).strip()]


def spans(line):
    """A line with its colours, as SVG."""
    out, colour = [], None
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            codes = part[2:-1].split(";")
            colour = next((COLOURS[code] for code in codes if code in COLOURS), None)
        elif part:
            fill = f' fill="{colour}"' if colour else ""
            out.append(f"<tspan{fill}>{escape(part)}</tspan>")
    return "".join(out)


def draw(lines):
    width, height = COLUMNS * CELL + 32, len(lines) * LINE + 52
    rows = (f'<text x="16" y="{52 + at * LINE}" xml:space="preserve">{spans(line)}</text>' for at, line in enumerate(lines))
    dots = "".join(f'<circle cx="{20 + at * 18}" cy="18" r="6" fill="{fill}"/>' for at, fill in enumerate(("#ff5f56", "#ffbd2e", "#27c93f")))
    style = "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#e6edf3}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<style>{style}</style><rect width="100%" height="100%" rx="8" fill="#0d1117"/>{dots}\n' + "\n".join(rows) + "\n</svg>\n"
    )


def main():
    binary, picture = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        server, port = start_nas(home)
        try:
            (home / "volume1").mkdir()
            env = {"NAS_HOST": "127.0.0.1", "NAS_PORT": str(port), "NAS_USER": os.environ.get("USER", "root"), "NAS_PATH": str(home / "volume1"),
                   "NAS_KEY_FILE": "nas_key", "NAS_KNOWN_HOSTS": "known_hosts", "PATH": f"{home}:/usr/bin:/bin"}
            os.symlink(binary, home / "nas-sync")
            os.chdir(home)
            for at, name in enumerate(("invoice.pdf", "Reçu n° 12.pdf", "contrat.pdf")):
                (home / name).write_bytes(random.Random(at).randbytes(2_400_000))
            shown("nas-sync test --accept-new-host-key", env)
            lines = []
            for command in ("nas-sync add --user 7 invoice.pdf 'Reçu n° 12.pdf' contrat.pdf", "nas-sync sync", "nas-sync status"):
                if command == "nas-sync sync":
                    os.remove("contrat.pdf")
                lines += [f"\x1b[36m$\x1b[0m {command}", *shown(command, env)]
            picture.write_text(draw([line.replace(str(home), "/srv/app") for line in lines]))
        finally:
            server.terminate()
            server.wait()


main()
