import pytest
from small_gpt2 import gpt2

from labml_sd.cli import main as cli

__all__ = ["gpt2", "shell"]


@pytest.fixture
def shell(model, monkeypatch, capsys, tmp_path):
    """Runs a command line in an empty folder with the small model.

    Returns the exit code, the lines on standard output and those on standard error.
    """
    monkeypatch.chdir(tmp_path)
    loads = []

    def load(source, **options):
        loads.append({"source": source, **options})
        return model

    monkeypatch.setattr("labml_sd.cli.draw.load_model", load)

    def run(*arguments):
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as leaving:
            code = leaving.code
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    run.loads = loads
    return run
