"""Reads a Delta table again and again, until stdin ends, and once more after that.

    reading.py TABLE

A line of stdout for each time: the version of the table, how many records it has, and the sum of amount.
"""

import sys
import threading

import pyarrow.compute
from deltalake import DeltaTable


def main():
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while True:
        last = over.is_set()
        table = DeltaTable(sys.argv[1])
        usage = table.to_pyarrow_table(columns=["amount"])
        print(table.version(), usage.num_rows, pyarrow.compute.sum(usage["amount"]), flush=True)
        if last:
            return


if __name__ == "__main__":
    main()
