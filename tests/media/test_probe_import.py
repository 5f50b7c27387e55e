import subprocess
import sys


def test_probing_loads_no_torch() -> None:
    code = "import sys, wanvideo.media.probe; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
