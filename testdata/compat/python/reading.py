"""Reads the tables of a delivery again and again, until stdin ends, and once more after that.

    reading.py TABLE

A line of stdout for each time that one was read: its name, the number of the manifest that it has, how many records there are, and
the sum of amount.
"""

import sys
import threading

import pyarrow.compute
from deltalake import DeltaTable
from pyiceberg.table import StaticTable


def delta(place):
    table = DeltaTable(place)
    return table.version() + 1, table.to_pyarrow_table(columns=["amount"])


def iceberg(place):
    table = StaticTable.from_metadata(place)
    return table.current_snapshot().summary.additional_properties["usagelake.manifest"], table.scan(selected_fields=("amount",)).to_arrow()


def main():
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while True:
        last = over.is_set()
        for read in (delta, iceberg):
            number, usage = read(sys.argv[1])
            print(read.__name__, number, usage.num_rows, pyarrow.compute.sum(usage["amount"]), flush=True)
        if last:
            return


if __name__ == "__main__":
    main()
