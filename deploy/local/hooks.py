"""The hook catcher as a part of one machine's run, and the channels file that sends to it."""

import base64
import json
import os
import secrets
import sys
from pathlib import Path

from deploy.local.hook_catcher import HOOKS
from deploy.local.ports import HOST
from deploy.local.process import Process
from deploy.local.settings import PROJECT, Home

CRM, STAFF = "crm", "ops"
"""The endpoints that the demo's templates name."""
DEMO_PER_MINUTE = 600
"""The robot of the demo is no robot of WeCom, which would take 20."""


class HookCatcher(Process):
    """hook_catcher.py as a child process."""

    def __init__(self, home: Home, port: int, log_path: Path) -> None:
        """Describe the catcher; messages become files in `home.hooks`. Its channels file is written."""
        write_channels(home, port)
        argv = [sys.executable, "-m", "deploy.local.hook_catcher", "--dir", str(home.hooks.resolve()), "--port", str(port)]
        argv += ["--secret", str(secret_file(home).resolve())]
        super().__init__("hooks", argv, log_path, cwd=PROJECT, check=f"tcp://{HOST}:{port}")


def channels_file(home: Home) -> Path:
    """What RAPPORT_CHANNELS_FILE names: the endpoints of this machine's run."""
    return home.channels / "channels.yaml"


def secret_file(home: Home) -> Path:
    """The key that signs webhooks to the catcher."""
    return home.channels / f"{CRM}.secret"


def write_channels(home: Home, port: int) -> None:
    """The channels file of a catcher at `port`; secrets are made once. The catcher is on this machine, which each endpoint must allow."""
    home.channels.mkdir(mode=0o700, parents=True, exist_ok=True)
    _once(secret_file(home), "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    _once(home.channels / f"{STAFF}.key", secrets.token_hex(16))
    url = f"http://{HOST}:{port}"
    said = {
        "webhook": {CRM: {"url": f"{url}{HOOKS}{CRM}", "secret_file": f"{CRM}.secret", "private": True}},
        "wecom_group": {STAFF: {"base": f"{url}/cgi-bin", "key_file": f"{STAFF}.key", "private": True, "per_minute": DEMO_PER_MINUTE}},
    }
    _write(channels_file(home), json.dumps(said, indent=2) + "\n")  # JSON is YAML


def _once(path: Path, text: str) -> None:
    if not path.exists():
        _write(path, text + "\n")


def _write(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
