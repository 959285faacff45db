"""Execute notebooks from top to bottom and save them with their outputs, byte for byte the same each time.

    python scripts/run_notebooks.py notebooks/*.ipynb

Runs on $DIFFUSION_PROFILE, or laptop. Saved outputs hold no widget state, no timing and no object addresses:
a slider is saved as HTML that moves without a kernel. An output that names a path or a user of this machine
stops the save.
"""

import getpass
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

WIDGET = "application/vnd.jupyter.widget-view+json"
MOST_BYTES = 2 * 2**20
MOST_MEMORY = 1.5 * 2**30  # bytes of a kernel, so that a hub that gives each student 2 GB serves
PEAK = """import sys
if sys.platform == "win32":
    import psutil
    print(psutil.Process().memory_info().peak_wset)
elif sys.platform == "linux":  # ru_maxrss would count the process that started this one as well
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")))
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def execute(path: Path) -> int:
    """Run the notebook at ``path`` in its own folder and save it in place; the most bytes that its kernel held."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    peak = int(notebook.cells.pop().outputs[0].text)
    clean(notebook)
    text = nbformat.writes(notebook) + "\n"
    check(path, notebook, text)
    path.write_text(text)
    return peak


def clean(notebook: nbformat.NotebookNode) -> None:
    """Take out everything that differs from run to run or needs the kernel that is gone."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        cell.outputs = [join(output) for output in merge_streams(cell.outputs)]


def merge_streams(outputs: list) -> list:
    """Neighbouring prints as one output; how they were split depends on timing."""
    merged: list = []
    for output in outputs:
        if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def join(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """One output without a widget view or an object address."""
    if "data" in output:
        if "text/html" in output.data:
            output.data.pop(WIDGET, None)
        if "image/png" in output.data:
            output.data.pop("text/html", None)  # the same picture again, for JupyterLab alone
        if "text/plain" in output.data:
            output.data["text/plain"] = ADDRESS.sub("", output.data["text/plain"])
    return output


def check(path: Path, notebook: nbformat.NotebookNode, text: str) -> None:
    """Raise for anything that a reader should not see."""
    private = {str(Path.home()) + "/", str(Path.cwd()), os.environ.get("DIFFUSION_DATA") or "\0"}
    if getpass.getuser() != "root":
        private.add(getpass.getuser())
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
            for word in private:
                if word in shown:
                    raise SystemExit(f"{path.name}: an output names {word!r}: {shown[:200]}")
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name}: a warning in an output: {shown[:500]}")
    if len(text.encode()) > MOST_BYTES:
        raise SystemExit(f"{path.name}: {len(text.encode()):,} bytes; a notebook may have {MOST_BYTES:,}.")


def main() -> None:
    os.environ.setdefault("DIFFUSION_PROFILE", "laptop")
    for name in sys.argv[1:]:
        path, start = Path(name), time.perf_counter()
        peak = execute(path)
        size, over = path.stat().st_size / 1024, f" (more than {MOST_MEMORY / 2**30} GiB)" if peak > MOST_MEMORY else ""
        print(f"{name}: {time.perf_counter() - start:.0f} s, {size:.0f} KiB, at most {peak / 2**30:.2f} GiB{over}")


if __name__ == "__main__":
    main()
