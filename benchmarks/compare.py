"""Speed and memory of labml_sd beside other programs, measured in turn in one run.

    python benchmarks/compare.py                  the quick cells: twenty minutes on two cores
    python benchmarks/compare.py --all --engines-python env/bin/python --json all.json
    python benchmarks/compare.py --cells "U-Net step 512.*bfloat16" --repeats 9
    python benchmarks/compare.py --device cuda --compiled

A cell is timed only if all its answers agree. `ratio` is the median of ours / theirs within
each round.
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import cell_parts
import cell_pictures
import cell_processes
import cell_unet
import machine
import table
import torch
from cells import Cell, Setting
from pairs import in_turn, timed
from rival_engines import ENGINES
from tqdm import tqdm

from labml_sd.utilities.device import fast_bfloat16


def every_cell() -> list[Cell]:
    """In the order in which they are measured."""
    return [
        *cell_unet.cells(),
        *cell_parts.cells(),
        *cell_pictures.cells(),
        *cell_processes.cells(),
    ]


def chosen(args: argparse.Namespace) -> list[Cell]:
    """The cells that the options select, on this device.

    Without hardware for it bfloat16 takes ten to a hundred times as long: it must be named.
    """
    device = torch.device(args.device)
    here = [cell for cell in every_cell() if device.type in cell.devices]
    if args.cells:
        return [cell for cell in here if re.search(args.cells, cell.name)]
    if not fast_bfloat16(device):
        here = [cell for cell in here if cell.dtype != torch.bfloat16]
    return here if args.all else [cell for cell in here if cell.quick]


@torch.no_grad()
def measure(cell: Cell, setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """All readings of a cell, ready for JSON."""
    started = time.perf_counter()
    with cell.enter(setting) as comparison:
        runs = dict(comparison.runs)
        flops_of_matmul = 0.0
        if comparison.flops:
            multiply, flops_of_matmul = machine.matmul(comparison.dtype, setting.device)
            multiply()
            runs[table.MATMUL] = timed(multiply, setting.device)
        readings = in_turn(
            runs,
            repeats=args.repeats,
            budget=args.seconds,
            warm_ups=comparison.warm_ups,
            label=cell.name,
        )
    return {
        "cell": cell.name,
        "flops": comparison.flops,
        "flops_of_matmul": flops_of_matmul,
        "pictures": comparison.pictures,
        "readings": readings,
        "took": time.perf_counter() - started,
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cells",
        metavar="REGEX",
        help="cells whose name matches (default: the quick ones; bfloat16 only with hardware)",
    )
    parser.add_argument("--all", action="store_true", help="all cells")
    parser.add_argument(
        "--list", action="store_true", help="print the names of the cells and stop"
    )
    parser.add_argument("--repeats", type=int, default=7, help="rounds of a cell (7)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=45,
        help="no further round of a cell after so many seconds, but at least 3 (45)",
    )
    parser.add_argument("--threads", type=int, help="cores to use (all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--compiled", action="store_true", help="compile both sides")
    parser.add_argument(
        "--plain", action="store_true", help="also our networks without acceleration"
    )
    parser.add_argument(
        "--labml-python", type=Path, metavar="PATH", help="an interpreter that has labml_nn"
    )
    parser.add_argument(
        "--engines-python",
        type=Path,
        metavar="PATH",
        help="an interpreter that has openvino, onnxruntime, diffusers",
    )
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=list(ENGINES),
        default=list(ENGINES),
        help="which of them to run; in float32 both do not fit into 24 GiB (both)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every reading")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios")
    parser.add_argument(
        "--files",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / "labml_sd_benchmark",
        help="where checkpoints of random weights are made and kept (%(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    """Measure the chosen cells; every finished one is printed and written at once."""
    args = arguments()
    cells = chosen(args)
    if args.list:
        print(*(cell.name for cell in cells), sep="\n")
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    setting = Setting(
        device=device,
        compiled=args.compiled,
        labml_python=args.labml_python,
        engines_python=args.engines_python,
        engines=tuple(args.engines),
        files=args.files.resolve(),
        plain=args.plain,
    )
    report: dict[str, Any] = {"machine": machine.describe(device), "results": []}
    print(machine.line(report["machine"]))
    for cell in tqdm(cells, unit="cell"):
        result = measure(cell, setting, args)
        report["results"].append(result)
        tqdm.write("\n".join(table.lines(result)))
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    setting.shelf.clear()
    print("", machine.line(report["machine"]), *table.whole(report["results"]), sep="\n")
    if args.plot:
        from plot import draw

        draw(report, args.plot)


if __name__ == "__main__":
    main()
