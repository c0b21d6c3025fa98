"""The mail catcher as a part of one machine's run."""

import sys
from pathlib import Path

from deploy.local.ports import HOST
from deploy.local.process import Process
from deploy.local.settings import PROJECT


class MailCatcher(Process):
    """mail_catcher.py as a child process."""

    def __init__(self, folder: Path, port: int, log_path: Path) -> None:
        """Describe the catcher; messages become files in `folder`."""
        self.folder, self.port = folder, port
        self.url = f"smtp://{HOST}:{port}"
        argv = [sys.executable, "-m", "deploy.local.mail_catcher", "--dir", str(folder.resolve()), "--port", str(port)]
        super().__init__("mail", argv, log_path, cwd=PROJECT, check=f"tcp://{HOST}:{port}")
