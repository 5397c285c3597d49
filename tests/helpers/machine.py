"""A machine of which a witness is told, in the kernel's formats."""

import os
from collections.abc import Mapping
from pathlib import Path

from hpml.system.kernel_readings import Witness

PID, WORKER = 100, 200
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Machine:
    """A `/proc` and control groups in a folder, which hold what is set."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.groups = folder / "proc", folder / "groups"
        self.write("self-only", "")
        self.process(PID)
        self.cores((0, 0, 0), (0, 0, 0))
        self.write(f"{PID}/status", "Name:\tpython\nCpus_allowed_list:\t0-1\n")
        self.witness = Witness(proc=self.proc, groups=self.groups, pid=PID)

    def write(self, name: str, text: str) -> None:
        file = self.proc / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def process(
        self,
        pid: int,
        waited: Mapping[int, float] = {},
        cpu_s: float = 0,
        faults: int = 0,
        children: tuple[int, ...] = (),
        of_children_s: float = 0,
    ) -> None:
        """Its threads' waiting in seconds, by number; its CPU time, and that of ended children."""
        for thread in {pid, *waited}:
            ns = round(waited.get(thread, 0) * 1e9)
            self.write(f"{pid}/task/{thread}/schedstat", f"0 {ns} 1\n")
            self.write(f"{pid}/task/{thread}/children", "")
        self.write(f"{pid}/task/{pid}/children", " ".join(map(str, children)) + " ")
        self.write(f"{pid}/schedstat", f"0 {round(waited.get(pid, 0) * 1e9)} 1\n")
        own, ended = round(cpu_s / TICK_S), round(of_children_s / TICK_S)
        parent = 1 if pid == PID else PID
        fields = f"S {parent} 1 1 0 -1 0 0 0 {faults} 0 {own} 0 {ended} 0 20 0 1 0 777 0 0"
        self.write(f"{pid}/stat", f"{pid} (a) b) {fields}\n")

    def cores(self, *cores: tuple[float, float, float]) -> None:
        """Of each the seconds it worked, was idle, and was taken by a hypervisor."""
        rows = ["cpu 0 0 0 0 0 0 0 0 0 0"]
        for number, (busy, idle, stolen) in enumerate(cores):
            ticks = [round(seconds / TICK_S) for seconds in (busy, idle, stolen)]
            rows.append(f"cpu{number} {ticks[0]} 0 0 {ticks[1]} 0 0 0 {ticks[2]} 0 0")
        self.write("stat", "\n".join([*rows, "ctxt 1", ""]))
