"""The backtest of the documentation runs on its sample, the same every time."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "backtest.py"


def test_the_backtest_trades_and_draws_its_curve(tmp_path):
    said = {
        subprocess.run(
            [sys.executable, EXAMPLE, "--out", "equity.svg"], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    }
    assert len(said) == 1
    minutes, trades = (int(part.split()[-2]) for part in said.pop().split(",")[:2])
    assert minutes > 100
    assert trades > 3
    assert ET.parse(tmp_path / "equity.svg").getroot().tag.endswith("svg")
    assert [path.name for path in tmp_path.iterdir()] == ["equity.svg"]
